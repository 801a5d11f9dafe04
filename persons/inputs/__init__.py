"""Parsing of input from users and clients: parameters and texts.

Any package may import it. It imports no other package of persons.
"""
