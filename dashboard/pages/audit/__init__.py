"""The audit log: entries, filters and the chain."""
