"""Encoders, preprocessing of spaces, running moments: torch and gymnasium spaces only."""
