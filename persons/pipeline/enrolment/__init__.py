"""Syncs Vision's enrolments with the ledger of people."""
