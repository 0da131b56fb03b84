"""Callbacks that bring a method into an SB3 algorithm."""
