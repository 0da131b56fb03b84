"""Searching for settings: Optuna studies over the spaces of algorithms, rewards and auxiliary losses."""
