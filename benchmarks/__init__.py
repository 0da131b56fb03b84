"""What a bonus costs, as ratios to plain Stable-Baselines3."""
