"""Ranks on a virtual clock: thousands of them on one core."""
