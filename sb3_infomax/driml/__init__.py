"""DRIML: C51 whose encoder also learns by InfoNCE."""
