"""Erasing a person: a chain of steps that is claimed and resumed like other long work. See
`work`."""

from persons.pipeline.privacy.erasing.work import NAMES, erase

__all__ = ["NAMES", "erase"]
