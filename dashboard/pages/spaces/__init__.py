"""Spaces: the list, one space, its policy, snapshots and the connection to Vision."""
