"""Files: content-addressed storage, uploads, cleanup of unfinished files, zips.

Actions, pages and the pipeline import it; it imports no domain package.
"""
