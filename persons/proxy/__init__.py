"""The wire-compatible endpoint: `POST /api/v1/persons/{set,recognize,delete,truncate}`.

A client of the Vision API changes its host and its token, and nothing else.
"""
