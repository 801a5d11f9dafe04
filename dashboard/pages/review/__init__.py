"""Review: one face after the other, one person's suggestions at once, groups of unknown faces."""
