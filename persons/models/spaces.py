"""Spaces: a team's ten sets of enrolled people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from persons.models.counting import count_of
from persons.models.enrolments import Enrolment, EnrolmentState
from persons.models.galleries import Gallery
from persons.models.people import Person
from persons.models.teams import Team
from persons.vision.limits import FACES_PER_SPACE, SPACES

FAR_OUT = 2**48
"""Ids are assigned in order. Ids from here on belong to another program and are ignored when
counting on, because the next id might not fit the column.
"""


class SpaceQuerySet(models.QuerySet["Space"]):
    def go_on_after(self, person_ids: Iterable[int]) -> None:
        """Raise `next_person_id` above these ids, which were assigned elsewhere."""
        last = max((person_id for person_id in person_ids if person_id < FAR_OUT), default=0)
        self.filter(next_person_id__lte=last).update(next_person_id=last + 1)

    def with_counts(self) -> Self:
        """Adds `people_count`, `gallery_count`, `enrolled_count` (pictures that Vision has) and
        `waiting_count` (pictures to be sent).
        """
        enrolled = Enrolment.objects.filter(person__space=models.OuterRef("pk"))
        return self.annotate(
            people_count=count_of(
                Person.objects.listed().filter(space=models.OuterRef("pk")), "space"
            ),
            gallery_count=count_of(Gallery.objects.filter(space=models.OuterRef("pk")), "space"),
            enrolled_count=count_of(
                enrolled.filter(state__in=[EnrolmentState.DONE, EnrolmentState.REMOVING]),
                "person__space",
            ),
            waiting_count=count_of(enrolled.filter(state=EnrolmentState.QUEUED), "person__space"),
        )


class Space(models.Model):
    """One of a team's ten sets of enrolled people, numbered as in the Vision API.

    All ten rows are created with the team. `next_person_id` only grows, so an id is never reused,
    even after its person is gone. Every enrolment or removal that Vision confirms raises `version`.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="spaces")
    number = models.PositiveSmallIntegerField(validators=[MaxValueValidator(max(SPACES))])
    name = models.CharField(max_length=100, blank=True)
    update_embedding = models.BooleanField(
        default=False,
        help_text="Each recognition of a known person refreshes what Vision knows of them. The "
        "space then drifts away from anything that can be rebuilt.",
    )
    create_new = models.BooleanField(
        default=False, help_text="An unknown face becomes a new, unnamed person of the space."
    )
    show_attributes = models.BooleanField(
        default=False, help_text="Show sex, age and emotion where Vision tells them."
    )
    searcher = models.PositiveSmallIntegerField(
        default=0,
        choices=[(0, "All people (first model)"), (1, "Nearest neighbour (second model)")],
    )
    threshold = models.FloatField(
        default=0.4,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="A match whose similarity is lower leaves the face unknown. 0 to 1.",
    )
    confirm_threshold = models.FloatField(
        default=0.5,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="A match below this is a suggestion that somebody has to confirm. 0 to 1.",
    )
    require_consent = models.BooleanField(
        default=False,
        help_text="Nobody is enrolled or recognised here without a consent that is in force.",
    )
    consents_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Until then everybody whom Vision knows has a consent; empty: nobody has looked.",
    )
    consent_changes = models.PositiveBigIntegerField(
        default=0, help_text="Answers of before such a change are not given again."
    )
    version = models.PositiveBigIntegerField(default=0)
    drift = models.PositiveBigIntegerField(
        default=0, help_text="Recognitions that wrote: create_new and update_embedding."
    )
    next_person_id = models.PositiveBigIntegerField(default=1)

    objects = SpaceQuerySet.as_manager()

    CAPACITY = FACES_PER_SPACE

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["team", "number"], name="one_space_a_number"),
        ]

    def __str__(self) -> str:
        return self.name or f"Space {self.number}"

    @property
    def title(self) -> str:
        return f"{self.number} · {self.name}" if self.name else f"Space {self.number}"
