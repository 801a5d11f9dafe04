"""Every write that a person asks for: keyword-only, atomic, audited, then enqueued on commit."""
