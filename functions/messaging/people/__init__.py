"""Owns who exists (apps, users, groups as entities) and who somebody is (tokens).

May import `base`. It knows nothing of messages.
"""
