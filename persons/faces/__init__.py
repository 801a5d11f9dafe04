"""Faces: who each one is, and which ones wait for review.

Actions, the pipeline and pages import it; it imports models.
"""
