"""The findings of a call: one for each face of its answer."""

from __future__ import annotations

from collections.abc import Sequence

from persons.calls import statements
from persons.models import Call, Finding, Recognition
from persons.vision.types import Details, FaceDetail, FoundPerson, ImageResult

MAX_FACE_COUNT = 32_767
"""What the column holds."""

NOTHING_MORE = FaceDetail()


def findings_of(
    call: Call, results: Sequence[ImageResult], details: Details | None
) -> list[Finding]:
    """Findings: one per face of each image."""
    found = []
    for row, result in zip(call.rows, results, strict=True):
        known = details.faces.get(result.name, ()) if details is not None else ()
        persons = result.persons[:MAX_FACE_COUNT]
        more = known if len(known) == len(persons) else [NOTHING_MORE] * len(persons)
        found += [
            _finding(call, row, position, person, detail)
            for position, (person, detail) in enumerate(zip(persons, more, strict=True))
        ]
    return found


def _finding(
    call: Call, row: Recognition, position: int, person: FoundPerson, detail: FaceDetail
) -> Finding:
    return Finding(
        team_id=call.team_id,
        call_id=call.pk,
        recognition_id=row.pk,
        gallery_id=row.gallery_id,
        position=position,
        told_id=person.person_id,
        similarity=person.similarity,
        confidence=person.confidence,
        left=person.box.left,
        top=person.box.top,
        right=person.box.right,
        bottom=person.box.bottom,
        runner_up=detail.runner_up,
        runner_up_similarity=detail.runner_up_similarity,
        matched_sha256=detail.matched,
    )


def found_again(call: Call, stored: Sequence[Recognition]) -> list[Finding]:
    """Copies of stored results' findings, for the images of a call answered from them."""
    known: dict[int, list[Finding]] = {}
    old_ones = Finding.objects.filter(recognition__in=stored)
    for one in old_ones.order_by("recognition", "position"):
        known.setdefault(one.recognition_id, []).append(one)
    found = []
    for row, old in zip(call.rows, stored, strict=True):
        for one in known.get(old.pk, ()):
            facts = {name: getattr(one, name) for name in statements.FOUND}
            facts |= {"call_id": call.pk, "recognition_id": row.pk, "gallery_id": row.gallery_id}
            found.append(Finding(**facts))
    return found
