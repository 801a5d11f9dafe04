"""The audit's chain in the background: sealing and verification."""
