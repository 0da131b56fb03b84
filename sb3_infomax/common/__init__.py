"""Seams of SB3's algorithms that several methods share."""
