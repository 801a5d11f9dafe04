"""People's rights: consent, legal holds, erasures, subject reports, reasons for access.

Actions, the pipeline and pages import it; it imports models, access and audit.
"""
