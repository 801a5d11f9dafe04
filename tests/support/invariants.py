"""Invariants of the database after every action, computed more simply than in the code."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

from django.db import connection
from django.db.models import Count, F, Q, QuerySet

from persons.models import (
    AuditConcern,
    AuditEntry,
    Call,
    Change,
    Enrolment,
    Face,
    Person,
    Photo,
    Rejection,
)
from persons.models.changes import ChangeKind


def violations() -> list[str]:
    """Violated invariants in words; empty if all hold."""
    return [
        *_columns(),
        *_counts(),
        *_changes(),
        *_calls(),
        *canonical_violations(),
        *_people(),
        *_records(),
    ]


Query = Callable[[], "QuerySet[Any, Any]"]


@cache
def _statement(query: Query) -> tuple[str, tuple[Any, ...]]:
    sql, params = query().query.sql_with_params()
    return sql, tuple(params)


def _rows(query: Query) -> list[Any]:
    """The rows of a `values_list`, which is compiled once: that takes longer than to run it, and
    thousands of tests end here. Values are as the database gives them."""
    with connection.cursor() as cursor:
        cursor.execute(*_statement(query))
        return list(cursor.fetchall())


def _faces_elsewhere() -> QuerySet[Any, Any]:
    return Face.everything.exclude(gallery=F("photo__gallery")).values_list("pk")


def _faces_of_other_spaces() -> QuerySet[Any, Any]:
    return Face.everything.exclude(space=F("photo__gallery__space")).values_list("pk")


def _faces_in_half_a_trash() -> QuerySet[Any, Any]:
    apart = Q(trashed=True, photo__trashed_at=None)
    return Face.everything.filter(
        apart | Q(trashed=False, photo__trashed_at__isnull=False)
    ).values_list("pk")


def _pictures_elsewhere() -> QuerySet[Any, Any]:
    pictures = Enrolment.objects.exclude(face=None)
    moved = ~Q(gallery=F("face__photo__gallery"))
    return pictures.filter(moved | Q(gallery=None)).values_list("pk")


def _columns() -> list[str]:
    """Denormalised columns of faces and enrolments equal those of their photo."""
    return [
        *(f"face {pk} is not in its photo's gallery" for (pk,) in _rows(_faces_elsewhere)),
        *(f"face {pk} is not in its photo's space" for (pk,) in _rows(_faces_of_other_spaces)),
        *(f"face {pk} is trashed, or its photo" for (pk,) in _rows(_faces_in_half_a_trash)),
        *(f"picture {pk} is not of its face's gallery" for (pk,) in _rows(_pictures_elsewhere)),
    ]


def _present_faces() -> QuerySet[Any, Any]:
    return Face.everything.filter(missing=False).values_list("photo", "person", "decision")


def _photo_counts() -> QuerySet[Any, Any]:
    return Photo.everything.order_by().values_list("pk", "face_count", "unknown_count")


def _counts() -> list[str]:
    """A photo's counts equal its faces, and its unknown faces."""
    there: Counter[int] = Counter()
    unknown: Counter[int] = Counter()
    for photo, person, decision in _rows(_present_faces):
        there[photo] += 1
        unknown[photo] += person is None and not decision
    return [
        f"photo {pk} counts {faces} faces and {without} unknown ones"
        for pk, faces, without in _rows(_photo_counts)
        if (faces, without) != (there[pk], unknown[pk])
    ]


def _pointers() -> QuerySet[Any, Any]:
    return Person.objects.order_by().values_list("pk", "merged_into", "canonical")


def canonical_violations() -> list[str]:
    """`Person.canonical` is the end of the `merged_into` chain."""
    people = _rows(_pointers)
    merged = {pk: into for pk, into, _ in people}
    wrong = []
    for pk, _, canonical in people:
        end = pk
        while (into := merged[end]) is not None:
            end = into
        if canonical != end:
            wrong.append(f"person {pk} has {canonical} as canonical, and the pointers say {end}")
    return wrong


def _changed_faces() -> QuerySet[Any, Any]:
    changes = Change.objects.exclude(kind=ChangeKind.MERGE).annotate(n=Count("faces"))
    return changes.filter(n__gt=F("face_count")).order_by().values_list("pk", "face_count", "n")


def _changes() -> list[str]:
    """A change counts at least the faces that it has rows for.

    Deleted faces have no rows any more. Merges have none: `merged_into` tells their faces.
    """
    return [
        f"change {pk} counts {count} faces and has {n}" for pk, count, n in _rows(_changed_faces)
    ]


def _recorded_images() -> QuerySet[Any, Any]:
    calls = Call.objects.filter(image_count__gt=0).annotate(n=Count("recognitions"))
    return calls.filter(n__gt=F("image_count")).order_by().values_list("pk", "image_count", "n")


def _calls() -> list[str]:
    """A call counts at least the images that it has records for: records may be deleted.

    Calls that tests create by hand count none and are left out.
    """
    return [
        f"call {pk} counts {count} images and has {n}" for pk, count, n in _rows(_recorded_images)
    ]


def _identities() -> QuerySet[Any, Any]:
    names = ("pk", "person", "decision", "decided_person", "found_person", "grouped_person")
    return Face.everything.order_by().values_list(*names)


def _rejections() -> QuerySet[Any, Any]:
    return Rejection.objects.order_by().values_list("face", "person")


def _people() -> list[str]:
    """A face's person is the human's decision, else the engine's match, else the group's.

    In each case it is the canonical person.
    """
    merged = {pk: into for pk, into, _ in _rows(_pointers)}
    rejected: dict[int, set[int]] = defaultdict(set)

    def canonical(pk: int | None) -> int | None:
        while pk is not None and merged.get(pk) is not None:
            pk = merged[pk]
        return pk

    for face, person in _rows(_rejections):
        rejected[face].add(canonical(person) or 0)
    wrong = []
    for face, person, decision, decided, *others in _rows(_identities):
        right: int | None = None
        if decision == "named":
            right = canonical(decided)
        elif not decision:
            candidates = [canonical(pk) for pk in others if pk is not None]
            right = next((pk for pk in candidates if pk not in rejected[face]), None)
        if right != person:
            wrong.append(f"face {face} is person {person}, and should be {right}")
    return wrong


def _entries() -> QuerySet[Any, Any]:
    entries = AuditEntry.objects.filter(target_type__in=("photo", "face"))
    return entries.order_by().values_list("pk", "target_type", "target_id")


def _concerns() -> QuerySet[Any, Any]:
    return AuditConcern.objects.order_by().values_list("entry", "gallery")


def _photo_galleries() -> QuerySet[Any, Any]:
    return Photo.everything.order_by().values_list("pk", "gallery")


def _face_galleries() -> QuerySet[Any, Any]:
    return Face.everything.order_by().values_list("pk", "gallery")


def _records() -> list[str]:
    """Audit entries about a photo or a face concern the gallery where it is now."""
    entries = _rows(_entries)
    if not entries:
        return []
    galleries = {"photo": dict(_rows(_photo_galleries)), "face": dict(_rows(_face_galleries))}
    concerns = set(_rows(_concerns))
    wrong = []
    for pk, kind, target in entries:
        gallery = galleries[kind].get(int(target))
        if gallery is not None and (pk, gallery) not in concerns:
            wrong.append(f"entry {pk} does not say that it concerns gallery {gallery}")
    return wrong
