"""The database: prepared statements and lock order.

Any package may import it; it imports models at most.
"""
