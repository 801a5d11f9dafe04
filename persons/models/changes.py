"""Changes that humans made. Each can be undone exactly, even after later changes."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from persons.models.faces import Face
from persons.models.people import Person
from persons.models.spaces import Space
from persons.models.teams import Team, User


class ChangeKind(models.TextChoices):
    NAME = "name", "Named"
    CONFIRM = "confirm", "Confirmed"
    REJECT = "reject", "Rejected"
    IGNORE = "ignore", "Ignored"
    CLEAR = "clear", "Cleared"
    SPLIT = "split", "Split"
    MERGE = "merge", "Merged"


class ChangeQuerySet(models.QuerySet["Change"]):
    """Has no filters of its own; `persons.access` decides which changes a user sees."""


class Change(models.Model):
    """One action of one user on one or many faces, or on two people.

    Each face has a ChangedFace, except in a merge, which is recorded in `Person.merged_into`.
    `persons.actions.changes.undo` undoes a change and sets `undone_at`.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="changes")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="changes")
    kind = models.CharField(max_length=8, choices=ChangeKind.choices)
    person = models.ForeignKey(
        Person,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="changes",
        help_text="Who got or lost the faces; in a merge, who was merged into `other`.",
    )
    other = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    label = models.CharField(
        max_length=200,
        blank=True,
        help_text="The name that a person got by this change; an undo removes it.",
    )
    face_count = models.PositiveIntegerField(default=0)
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    objects = ChangeQuerySet.as_manager()
    said: dict[str, Any]
    """What the audit entry records (`persons.chain.facts`). Set only on a change just made."""

    notice = ""
    """What an undo could not restore, as text for the user. Set only on a change just undone."""

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["team", "-id"], name="change_list")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class ChangedFace(models.Model):
    """The human decision about one face before and after a change.

    `before` and `after` are `{"decision": str, "person": pk or None, "by": pk or None,
    "at": ISO or None, "rejected": [pk, ...], "taught": bool}`. `taught` says that the face's crop
    is an enrolled picture of the person, or will become one. In a rejection, `after` also has
    `"not_them"`: the people that this change rejected.

    An undo removes the row from the face's sequence of changes, recomputes the later rows, and
    applies the result to the face (`persons.actions.decision_events`).
    """

    change = models.ForeignKey(Change, on_delete=models.CASCADE, related_name="faces")
    face = models.ForeignKey(Face, on_delete=models.CASCADE, related_name="changes")
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    undone = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["change", "face"], name="one_change_a_face"),
        ]
        indexes = [models.Index(fields=["face", "-id"], name="changed_face_line")]

    def __str__(self) -> str:
        return f"{self.change}: {self.face}"


class Likeness(models.Model):
    """Two people who may be the same, found by Vision's aliases or a grouping, and the decision.

    NONE <-> DIFFERENT. DIFFERENT ("never these two") survives every rescan: the two are neither
    suggested nor merged until somebody withdraws it. `one` has the lower pk.
    """

    class Decision(models.TextChoices):
        NONE = "", "Open"
        DIFFERENT = "differ", "Never these two"

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="likenesses")
    one = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="+")
    other = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="+")
    similarity = models.FloatField(default=0.0)
    decision = models.CharField(max_length=6, choices=Decision.choices, default="", blank=True)
    decided_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "likenesses"
        constraints = [
            models.UniqueConstraint(fields=["one", "other"], name="one_likeness_a_pair"),
            models.CheckConstraint(
                condition=models.Q(one__lt=models.F("other")), name="likeness_in_order"
            ),
        ]
        indexes = [
            models.Index(
                fields=["space", "-id"],
                name="likeness_open",
                condition=models.Q(decision=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.one} and {self.other}"
