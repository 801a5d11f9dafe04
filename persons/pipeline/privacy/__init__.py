"""Rights that take effect in the background: consents, retention, the trash, erasures."""
