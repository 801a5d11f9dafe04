"""Fill `Person.canonical` from `merged_into`, some people at a time, each in its transaction.

Done again after an interruption, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db import migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models import F

BATCH = 2000


def fill(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    people = apps.get_model("persons", "Person").objects.order_by("pk")
    waiting, after = people.filter(canonical=None, merged_into=None), 0
    while pks := list(waiting.filter(pk__gt=after).values_list("pk", flat=True)[:BATCH]):
        after = pks[-1]
        with transaction.atomic():
            waiting.filter(pk__in=pks).order_by().update(canonical=F("pk"))
    merged = people.exclude(merged_into=None)
    pointers: dict[int, int] = dict(merged.values_list("pk", "merged_into"))
    waiting = list(merged.filter(canonical=None))
    for person in waiting:
        person.canonical_id = canonical_of(person.pk, pointers)
    for start in range(0, len(waiting), BATCH):
        with transaction.atomic():
            people.bulk_update(waiting[start : start + BATCH], ["canonical"], batch_size=500)


REPORTED = {"root": "canonical", "roots": "since"}
"""What jobs say of merges whose faces are still on their way: names of before, and of now."""


def rename_in_reports(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _rename(apps, REPORTED)


def rename_back(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _rename(apps, {now: before for before, now in REPORTED.items()})


def _rename(apps: StateApps, names: Mapping[str, str]) -> None:
    for job in apps.get_model("persons", "SpaceJob").objects.filter(kind="follow"):
        job.report = {names.get(name, name): value for name, value in job.report.items()}
        job.save(update_fields=["report"])


def canonical_of(pk: int, pointers: Mapping[int, int]) -> int:
    path = [pk]
    while path[-1] in pointers:
        into = pointers[path[-1]]
        if into in path:
            raise RuntimeError(
                f"These rows of persons_person point at each other in a circle: {path}. Rollcall "
                "never writes that. Set merged_into_id of one of them to NULL, and migrate again."
            )
        path.append(into)
    return path[-1]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("persons", "0017_canonical_1_column"),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunPython(rename_in_reports, rename_back),
    ]
