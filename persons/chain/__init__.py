"""The audit's hash chain, which makes alterations evident: hashes, keys, triggers and checks.

`verify` ships with every export: it needs only the standard library of Python 3.8 or later.
"""
