"""The team: overview, members, API keys, usage."""
