"""Counters of failed tries of passwords, links and tokens, shared by all processes."""

from __future__ import annotations

from django.db import models


class Throttle(models.Model):
    """Tries of one kind by one user, address or browser, until the window ends at `until`.

    `who` is a keyed digest, so no name or address is stored in clear. `persons.access.throttling`
    ignores expired rows and deletes them.
    """

    kind = models.CharField(max_length=20)
    who = models.CharField(max_length=64)
    tries = models.PositiveIntegerField(default=0)
    until = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "who"], name="one_throttle")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.tries} until {self.until:%H:%M:%S}"
