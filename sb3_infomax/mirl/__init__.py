"""MIRL: soft Q-learning with a learned action prior."""
