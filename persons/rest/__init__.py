"""Rollcall's REST API: reads go through `access`, writes through `actions`. It adds no rules."""
