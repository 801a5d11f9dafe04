"""Identity resolution in bulk: merges that propagate, groups, rebuilt identities."""
