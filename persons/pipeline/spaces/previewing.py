"""What a restore would do, before it is confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from persons.backends.select import vision_for
from persons.models import Enrolment, EnrolmentState, Person, Space
from persons.pipeline.spaces.manifests import Manifest
from persons.pipeline.spaces.restore_mapping import MappingConflict, place
from persons.pipeline.spaces.restoring import is_known_to, photos_to_rescan
from persons.pipeline.spaces.snapshots import key_of
from persons.privacy.erased import pictures_erased_of


@dataclass(frozen=True, slots=True)
class RestorePreview:
    """`to_send` pictures will be set; Vision knows `there` already; `erased` belong to erased
    people.

    `to_rescan` photos of the space are recognised again afterwards. `too_many` is by how many
    pictures the space would exceed its capacity; negative if there is room.
    """

    is_origin: bool
    is_empty: bool
    people: int
    new: int
    pictures: int
    to_send: int
    there: int
    to_rescan: int
    erased: int
    too_many: int
    conflicts: Sequence[MappingConflict]

    @property
    def images(self) -> int:
        """Images sent in all, including photos that are rescanned for the restored people."""
        return self.to_send + (self.to_rescan if self.to_send else 0)


def preview_restore(manifest: Manifest, space: Space) -> RestorePreview:
    """Work out the preview; changes nothing."""
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
        to_rescan=photos_to_rescan(space).count(),
        erased=len(manifest.pictures) - len(left),
        too_many=len(known) + more - Space.CAPACITY,
        conflicts=placing.conflicts,
    )
