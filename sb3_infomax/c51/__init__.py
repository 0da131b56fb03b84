"""C51: categorical DQN."""
