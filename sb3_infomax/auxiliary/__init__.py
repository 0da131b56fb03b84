"""Auxiliary losses on a learner's encoder: torch and gymnasium spaces only."""
