"""Our own REST API. Reads ask `access`, writes are `actions`; nothing is decided here."""
