"""People of a space: their enrolments, likely duplicates and orphaned rows.

Actions and the pipeline import it; it imports models and audit.
"""
