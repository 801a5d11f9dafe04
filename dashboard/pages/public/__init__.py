"""Public links: what a visitor sees."""
