"""Which gallery faces, enrolled pictures and audit entries are of.

Faces of photos that were moved go to the gallery of their photo. Pictures get the gallery of the
photo that they were cut out of, and entries those that their words tell of, as far as that is still
known; what isn't is marked, and hidden from whoever may not see all galleries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, OuterRef, Subquery

BATCH = 2000
OF_GALLERIES = (
    "gallery",
    "photo",
    "face",
    "sharelink",
    "grouping",
    "enrolment",
    "change",
    "person",
)


def faces_follow(apps: Any, schema_editor: Any) -> None:
    Face, Photo = apps.get_model("persons", "Face"), apps.get_model("persons", "Photo")
    photo = Photo.objects.filter(pk=OuterRef("photo")).order_by()
    stale = Face.objects.exclude(gallery=F("photo__gallery")).order_by()
    # As a list: MySQL aside, no database changes the rows that it still reads for the condition.
    pks = list(stale.values_list("pk", flat=True))
    for some in _batches(pks):
        Face.objects.filter(pk__in=some).update(gallery=Subquery(photo.values("gallery")[:1]))


def pictures_get_theirs(apps: Any, schema_editor: Any) -> None:
    Enrolment, Face = apps.get_model("persons", "Enrolment"), apps.get_model("persons", "Face")
    face = Face.objects.filter(pk=OuterRef("face")).order_by()
    rows = Enrolment.objects.order_by()
    rows.exclude(face=None).update(gallery=Subquery(face.values("gallery")[:1]))
    rows.filter(face=None).exclude(call__source="client").update(source_lost=True)


def entries_get_theirs(apps: Any, schema_editor: Any) -> None:
    Concern = apps.get_model("persons", "AuditConcern")
    for entries in _batches(_entries(apps)):
        found = _galleries_of(apps, entries)
        Concern.objects.bulk_create(
            [Concern(entry_id=pk, gallery_id=gallery) for pk, gallery in sorted(found, key=str)],
            batch_size=500,
        )


def _entries(apps: Any) -> Iterator[Any]:
    Entry = apps.get_model("persons", "AuditEntry")
    wanted = Entry.objects.order_by("pk").only(
        "team_id", "action", "target_type", "target_id", "before", "after", "erased_at"
    )
    named = models.Q(target_type__in=OF_GALLERIES) | models.Q(action="history.export")
    return wanted.filter(named).iterator(BATCH)


def _batches(rows: Any) -> Iterator[list[Any]]:
    some: list[Any] = []
    for row in rows:
        some.append(row)
        if len(some) == BATCH:
            yield some
            some = []
    if some:
        yield some


def _galleries_by_slug(apps: Any, entries: list[Any]) -> dict[tuple[int, str], int]:
    slugs = {(entry.team_id, slug) for entry in entries for slug in _slugs_of(entry)}
    galleries = apps.get_model("persons", "Gallery").objects.filter(
        slug__in={slug for _, slug in slugs}
    )
    return {
        (team, slug): pk
        for pk, team, slug in galleries.order_by().values_list("pk", "team", "slug")
    }


def _known(
    apps: Any, entries: list[Any], wanted: dict[str, set[int]]
) -> dict[tuple[str, int], set[int | None]]:
    """By (kind, key) of a target, the galleries that it is in."""
    known: dict[tuple[str, int], set[int | None]] = {}
    for kind, model, column in (
        ("gallery", "Gallery", "pk"),
        ("photo", "Photo", "gallery"),
        ("face", "Face", "gallery"),
        ("sharelink", "ShareLink", "gallery"),
        ("grouping", "Grouping", "gallery"),
        ("enrolment", "Enrolment", "gallery"),
    ):
        rows = apps.get_model("persons", model).objects.filter(pk__in=wanted.get(kind, ()))
        for pk, gallery in rows.order_by().values_list("pk", column):
            known[kind, pk] = {gallery} - {None}
    lost = apps.get_model("persons", "Enrolment").objects.filter(
        pk__in=wanted.get("enrolment", ()), source_lost=True
    )
    for pk in lost.order_by().values_list("pk", flat=True):
        known["enrolment", pk] = {None}
    changes = {pk for entry in entries if (pk := _change_of(entry)) is not None}
    rows = apps.get_model("persons", "ChangedFace").objects.filter(change__in=changes).order_by()
    for pk, gallery in rows.values_list("change", "face__gallery").distinct():
        known.setdefault(("change", pk), set()).add(gallery)
    return known


def _galleries_of(apps: Any, entries: list[Any]) -> set[tuple[int, int | None]]:
    """(entry, gallery) for each that an entry tells of."""
    wanted: dict[str, set[int]] = {}
    for entry in entries:
        if pk := _number(entry.target_id):
            wanted.setdefault(entry.target_type, set()).add(pk)
    known = _known(apps, entries, wanted)
    by_slug = _galleries_by_slug(apps, entries)
    found: set[tuple[int, int | None]] = set()
    for entry in entries:
        theirs = {by_slug.get((entry.team_id, slug)) for slug in _slugs_of(entry)}
        target = (entry.target_type, _number(entry.target_id))
        if target in known:
            theirs |= known[target]
        elif entry.target_type in ("photo", "face", "sharelink", "gallery") and not theirs:
            theirs.add(None)
        change = _change_of(entry)
        if change is not None and entry.action not in ("person.merge", "face.name"):
            theirs |= known.get(("change", change), set())
        found |= {(entry.pk, gallery) for gallery in theirs}
    return found


def _number(target_id: str) -> int:
    """A row's; 0 where the target is known by something else."""
    return int(target_id) if re.fullmatch("[0-9]{1,18}", target_id) else 0


def _change_of(entry: Any) -> int | None:
    if entry.target_type == "change" and (pk := _number(entry.target_id)):
        return pk
    change = entry.after.get("change") if isinstance(entry.after, dict) else None
    return change if isinstance(change, int) else None


def _slugs_of(entry: Any) -> set[str]:
    """Galleries whose addresses stand in an entry's words."""
    said = [entry.before, entry.after]
    if entry.action == "history.export" and isinstance(entry.after, dict):
        said.append(entry.after.get("filters"))
    slugs = [one.get("gallery") for one in said if isinstance(one, dict)]
    return {slug for slug in slugs if isinstance(slug, str) and slug}


class Migration(migrations.Migration):
    dependencies = [("persons", "0009_photo_moment")]

    operations = [
        migrations.AddField(
            model_name="enrolment",
            name="gallery",
            field=models.ForeignKey(
                blank=True,
                help_text="The photo's that it was cut out of.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="persons.gallery",
            ),
        ),
        migrations.AddField(
            model_name="enrolment",
            name="source_lost",
            field=models.BooleanField(default=False),
        ),
        migrations.CreateModel(
            name="AuditConcern",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "entry",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="concerns",
                        to="persons.auditentry",
                    ),
                ),
                (
                    "gallery",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="persons.gallery",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("entry", "gallery"),
                        name="one_concern_a_gallery",
                    ),
                ],
            },
        ),
        migrations.RunPython(faces_follow, migrations.RunPython.noop),
        migrations.RunPython(pictures_get_theirs, migrations.RunPython.noop),
        migrations.RunPython(entries_get_theirs, migrations.RunPython.noop),
    ]
