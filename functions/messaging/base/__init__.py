"""Owns how we talk to AWS and to the log: store, keys (the table of access patterns), settings, errors, telemetry, wire shapes.

May import nothing of ours. It knows what a key looks like, and nothing of what happens to messages.
"""
