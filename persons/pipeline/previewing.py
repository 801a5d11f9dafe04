"""What a restore would do, before anybody says that it shall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from persons.backends import vision_for
from persons.erasures import pictures_erased_of
from persons.models import Enrolment, EnrolmentState, Person, Space
from persons.pipeline.manifests import Manifest
from persons.pipeline.placing import Conflict, place
from persons.pipeline.restoring import is_known_to, to_look_at
from persons.pipeline.snapshots import key_of


@dataclass(frozen=True, slots=True)
class RestorePreview:
    """`to_send` pictures are set; `there` are known to Vision already, `erased` with the people
    whom they showed; `to_look_at` photos of the space are recognised once more afterwards.
    `too_many` is how far the space would be over."""

    is_origin: bool
    is_empty: bool
    people: int
    new: int
    pictures: int
    to_send: int
    there: int
    to_look_at: int
    erased: int
    too_many: int
    conflicts: Sequence[Conflict]

    @property
    def images(self) -> int:
        """What is sent in all: photos are looked at again for whom the pictures bring back."""
        return self.to_send + (self.to_look_at if self.to_send else 0)


def preview_restore(manifest: Manifest, space: Space) -> RestorePreview:
    placing = place(manifest, space)
    vision = vision_for(space)
    moved = placing.moved
    live = Enrolment.objects.filter(person__space=space, state__in=EnrolmentState.live())
    known: dict[tuple[int, str], bool] = {}
    for row in live.select_related("call", "person").only(
        "state", "sha256", "person__person_id", "call__backend", "call__model"
    ):
        known[row.person.person_id, row.sha256] = is_known_to(vision, row)
    gone = pictures_erased_of(space.team_id, manifest.digests)
    left = [one for one in manifest.pictures if one.sha256 not in gone]
    wanted = [(moved.get(one.person, one.person), one.sha256) for one in left]
    there = sum(known.get(one, False) for one in wanted)
    more = len(set(wanted) - known.keys())
    return RestorePreview(
        is_origin=manifest.key == key_of(space),
        is_empty=not Person.objects.filter(space=space).exists(),
        people=len(placing.new) + placing.known,
        new=len(placing.new),
        pictures=len(left),
        to_send=len(wanted) - there,
        there=there,
        to_look_at=to_look_at(space).count(),
        erased=len(manifest.pictures) - len(left),
        too_many=len(known) + more - Space.CAPACITY,
        conflicts=placing.conflicts,
    )
