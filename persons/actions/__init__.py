"""Every write that a person asks for: keyword-only, atomic, audited, then queued on commit."""
