"""Intrinsic rewards: one file per paper on one contract."""
