"""Columns of rows that workers claim. Only `persons.work` reads or writes the claim."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Leased(models.Model):
    """A row of work that one worker at a time claims. The row's own state says what is due.

    A row has one claim. A second kind of work on the same row either has its own state under the
    same claim (a photo is prepared, then recognised) or no claim at all, if doing it twice is
    harmless (a person's `identity_due_at`).
    """

    claim = models.CharField(max_length=32, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    after = models.DateTimeField(default=timezone.now, help_text="No worker claims it before this.")

    class Meta:
        abstract = True
