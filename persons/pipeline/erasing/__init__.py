"""Erasing a person: claimed, resumed and told like any other long work. See `work`."""

from persons.pipeline.erasing.work import NAMES, erase, release_erasures, waiting_erasures

__all__ = ["NAMES", "erase", "release_erasures", "waiting_erasures"]
