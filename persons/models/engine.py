"""Storage of the embedded recogniser. Used by `persons.backends.embedded` and erasures alone.

It takes the place of the remote service: pages never read it, and Enrolment remains the record of
what was sent.
"""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from persons.models.teams import Team


class EngineSpace(models.Model):
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    number = models.PositiveSmallIntegerField()
    version = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["team", "number"], name="one_engine_space"),
        ]

    def __str__(self) -> str:
        return f"{self.team}/{self.number}@{self.version}"


class EngineEmbedding(models.Model):
    """One embedding of a person. `vector` is 128 little-endian float32 of unit length.

    `learned` marks the running mean over `weight` recognitions that `update_embedding` maintains.
    A person has at most one of those.
    """

    space = models.ForeignKey(EngineSpace, on_delete=models.CASCADE, related_name="embeddings")
    person_id = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64)
    vector = models.BinaryField()
    learned = models.BooleanField(default=False)
    weight = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["person_id", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["space", "person_id", "digest"], name="one_embedding_a_picture"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.space} person{self.person_id}"
