"""Privacy: holds, consents, retention, erasures, reasons for access."""
