"""The chain that shows the audit unaltered: its hashes, its keys, its triggers, and its checks.

`verify` is the part that an export takes along: the standard library alone, Python 3.8 and later.
"""
