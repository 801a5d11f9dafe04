"""What humans changed, so that each of it can be undone exactly, also after other changes."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from persons.models.faces import Face
from persons.models.spaces import Person, Space
from persons.models.teams import Team, User


class ChangeKind(models.TextChoices):
    NAME = "name", "Named"
    CONFIRM = "confirm", "Confirmed"
    REJECT = "reject", "Rejected"
    IGNORE = "ignore", "Ignored"
    CLEAR = "clear", "Cleared"
    SPLIT = "split", "Split"
    MERGE = "merge", "Merged"


class Change(models.Model):
    """One deed of one human on one or many faces, or on two people.

    The faces of a person who was merged are found by `Person.merged_into`; of all others each face
    has its ChangedFace. `persons.actions.changes.undo` takes a change back.
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
        help_text="Whom the faces were given to or taken from; who was merged into `other`.",
    )
    other = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    label = models.CharField(
        max_length=200,
        blank=True,
        help_text="The name that somebody got with it: taken back unless it was changed since.",
    )
    face_count = models.PositiveIntegerField(default=0)
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    notice = ""
    """Of one that was undone just now: what could not be as it was before, for the user."""

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["team", "-id"], name="change_list")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class ChangedFace(models.Model):
    """What a human had said of a face before a change, and said with it.

    Both are `{"decision": str, "person": pk or None, "by": pk or None, "at": ISO or None,
    "rejected": [pk, ...], "taught": bool}`; `taught` says that the face's crop is an enrolled
    picture of the person. A rejection's `after` has also `"not_them"`: whom it rejected itself.
    Undoing takes the row out of the face's line: the later ones are worked out again from what was
    before it, and the face gets what then comes out (`persons.actions.words`).
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
    """Two people who may be one, as Vision's aliases or a grouping say; and a human's word on it.

    `one` has the lower pk. DIFFERENT ("never these two") outlives every re-run: they are neither
    suggested nor merged, until somebody takes it back.
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
