"""Shared by tests: rows, fakes, pictures, processes. It has no tests itself.

Test modules import from here and never from each other.
"""
