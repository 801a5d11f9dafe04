"""The database: prepared statements, lock order and SQLite's connections.

Any package may import it; it imports models at most.
"""
