"""Fills a PostgreSQL database with a big installation: what `bench/pages.py` measures.

At scale 1: 200,000 photos with 1,000,000 faces of 20,000 people, and 1,000,000 recognitions. One
gallery has half the photos, one person 50,000 faces, the rest is spread by Zipf's law. All of it is
made by PostgreSQL out of row numbers and a hash, so the same seed makes the same rows; moments end
at the day it is run. `persons.faces.identity` says whose faces are:
`resolved_wrong` asks it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import drafts
import rows
from django.db import connection, models, transaction
from django.db.models import Max

from persons.faces.identity import resolve_identities
from persons.models import Face, Gallery, Grouping, JobState, Person, Photo, Space, SpaceJob

BIG = [
    "persons_photo",
    "persons_face",
    "persons_rejection",
    "persons_person",
    "persons_enrolment",
    "persons_call",
    "persons_recognition",
    "persons_change",
    "persons_changedface",
    "persons_likeness",
    "persons_auditentry",
    "persons_run",
    "persons_gallery",
    "persons_grouping",
]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; `scale` 1 is the size of the targets."""

    scale: float
    seed: int = 4

    def of(self, count: int, least: int = 1) -> int:
        return max(least, round(count * self.scale))

    @property
    def numbers(self) -> dict[str, Any]:
        """The parameters of the statements."""
        return {
            "seed": self.seed * 1000,
            "photos": self.of(200_000),
            "galleries": self.of(1200, 40),
            "star_faces": self.of(50_000),
            "client_calls": self.of(100_000),
            "runs": self.of(2000, 60),
            "likenesses": self.of(1200, 60),
            "until": datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0),
        }


def fill(size: Size, *, say: Any = print) -> None:
    """Into an empty database that has its tables."""
    began = time.perf_counter()
    drafts.make_teams(size.of(400, 12), size.of(200, 6), size.of(20_000, 200))
    with transaction.atomic(), connection.cursor() as cursor, without_indexes(cursor):
        cursor.execute("SET LOCAL work_mem = '256MB'; SET LOCAL jit = off")
        for name, statement in drafts.DRAFTS:
            _timed(say, name, lambda sql=statement: cursor.execute(sql, size.numbers))
        for model, columns, source in rows.FILLED:
            sql, values = insert(model, columns, source)
            numbers = size.numbers | values
            _timed(say, model.__name__, lambda sql=sql, n=numbers: cursor.execute(sql, n))
        _raise_sequences(cursor)
        say(f"  {time.perf_counter() - began:5.0f} s until indexes and constraints are made")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    _spaces_go_on()
    Person.objects.all().index_names()
    _plan_groups(size.of(2000, 20))
    say(f"  {time.perf_counter() - began:5.0f} s in all")


def _timed(say: Any, name: str, work: Any) -> None:
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    if seconds > 1:
        say(f"  {seconds:5.1f} s {name}")


def insert(
    model: type[models.Model], columns: dict[str, str], source: str
) -> tuple[str, dict[str, Any]]:
    """INSERT … SELECT of these columns; all others get what the model has as their default."""
    names, selected, values = [], [], {}
    for field in model._meta.concrete_fields:
        names.append(connection.ops.quote_name(str(field.column)))
        if field.column in columns:
            selected.append(columns[field.column])
        else:
            values[f"default_{field.column}"] = field.get_db_prep_save(
                field.get_default(), connection
            )
            selected.append(f"%(default_{field.column})s")
    unknown = columns.keys() - {field.column for field in model._meta.concrete_fields}
    assert not unknown, f"{model.__name__} has no {unknown}"
    table = connection.ops.quote_name(model._meta.db_table)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(selected)} FROM {source}",
        values,
    )


@contextmanager
def without_indexes(cursor: Any) -> Iterator[None]:
    """Takes indexes and foreign keys off the big tables, and puts them back, which checks them."""
    cursor.execute(
        "SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname),"
        " format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname,"
        " pg_get_constraintdef(oid)) FROM pg_constraint"
        " WHERE conrelid::regclass::text = ANY(%(big)s) AND contype = 'f'",
        {"big": BIG},
    )
    keys = cursor.fetchall()
    cursor.execute(
        "SELECT format('DROP INDEX %%s', indexrelid::regclass), pg_get_indexdef(indexrelid)"
        " FROM pg_index WHERE indrelid::regclass::text = ANY(%(big)s)"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)",
        {"big": BIG},
    )
    indexes = cursor.fetchall()
    for drop, _ in [*keys, *indexes]:
        cursor.execute(drop)
    yield
    for _, make in [*indexes, *keys]:
        cursor.execute(make)


def _raise_sequences(cursor: Any) -> None:
    for model in {model for model, _, _ in rows.FILLED}:
        last = model._base_manager.aggregate(last=Max("pk"))["last"] or 1
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [model._meta.db_table, last]
        )


def _spaces_go_on() -> None:
    last = models.Max("people__person_id", default=0)
    spaces = Space.objects.annotate(last=last).filter(last__gt=0)
    for pk, given in spaces.values_list("pk", "last"):
        Space.objects.filter(pk=pk).update(next_person_id=given + 1)


def _plan_groups(count: int) -> None:
    """A grouping that waits for somebody's word: so many people of eight faces each."""
    space = Space.objects.earliest("pk")
    faces = Face.objects.unknown().filter(space=space).order_by("-pk")
    pks = list(faces.values_list("pk", flat=True)[: count * 8])
    plan = [pks[at : at + 8] for at in range(0, len(pks), 8)]
    Grouping.objects.create(
        space=space, state=JobState.READY, total=len(pks), done=len(pks), plan=plan
    )
    SpaceJob.objects.create(
        team=space.team, space=space, kind="snapshot", state=JobState.DONE, people_count=count
    )


# --- What is there ---


def resolved_wrong(count: int = 1000) -> list[int]:
    """Photos of a sample that resolving again changes, though nothing was said of them since.

    Those with people who were merged, and with faces of every kind, are among the sample.
    """
    every = max(1, Photo.everything.count() // count)
    sample = set(
        Photo.everything.filter(pk__in=range(1, every * count, every)).values_list("pk", flat=True)
    )
    for review in ("unknown", "weak", "double", "grouped", ""):
        faces = Face.objects.filter(review=review).order_by("pk")
        sample.update(faces.values_list("photo", flat=True)[: count // 10])
    merged = Person.objects.filter(merged_into__isnull=False).values("pk")[: count // 10]
    faces = Face.objects.filter(found_person__in=merged)
    sample.update(faces.values_list("photo", flat=True)[: count // 10])
    before = _resolved(sample)
    with transaction.atomic():
        resolve_identities(sample)
        after = _resolved(sample)
        transaction.set_rollback(True)
    return sorted(pk for pk in sample if before[pk] != after[pk])


def _resolved(photo_pks: set[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {
        pk: list(counts)
        for pk, *counts in Photo.everything.filter(pk__in=photo_pks).values_list(
            "pk", "face_count", "unknown_count"
        )
    }
    faces = Face.everything.filter(photo__in=photo_pks).order_by("pk")
    for pk, *said in faces.values_list("photo", "pk", "person", "review", "review_rank"):
        found[pk].append(said)
    return found


def counted() -> dict[str, int]:
    """What was filled in, for the report."""
    biggest = Gallery.objects.get(pk=1)
    star = Person.objects.order_by("-face_count").values_list("face_count", flat=True)[0]
    reviews = dict(Face.objects.order_by().values_list("review").annotate(models.Count("pk")))
    found = {
        str(model._meta.verbose_name_plural): model._base_manager.count()
        for model, _, _ in rows.FILLED
    }
    return found | {
        "photos in the biggest gallery": biggest.photos.count(),
        "faces of the most seen person": star,
        **{f"faces “{kind or 'nothing to do'}”": count for kind, count in reviews.items()},
    }
