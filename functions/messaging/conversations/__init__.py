"""Owns the log and the watermarks into it: appending, deduplicating, delivering, membership, what a reader sees and has not read.

May import `people` and `base`.
"""
