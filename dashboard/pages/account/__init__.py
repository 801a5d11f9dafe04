"""Signing in and the account."""
