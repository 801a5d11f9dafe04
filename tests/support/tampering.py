"""Audit chains to tamper with, and what an attacker with the database can do to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from django.db import connection
from django.db.models import Model, QuerySet

from persons import audit
from persons.audit import Actor, redactions
from persons.chain import triggers
from persons.models import AuditChain, AuditEntry, AuditSeal, Person, Source, Team, User
from persons.pipeline.audit.sealing import seal_audit


def actor(user: User | None = None) -> Actor:
    return Actor(user=user, source=Source.PAGE, address="2001:db8::7", request_id="r" * 32)


def written(team: Team | None, user: User | None = None, count: int = 1) -> list[AuditEntry]:
    """Write new entries, with all values that a database might return in another form."""
    return [
        audit.record(
            actor=actor(user),
            team=team,
            action="gallery.rename",
            target=team,
            before={"name": f"Trip {number}", "size": 1.0, "share": 1e22, "box": (1, 2)},
            after={"name": "Größe \u2028 🙂", "deep": {"b": [None, True, 0.1], "a": -0.0}},
            reason="Because",
        )
        for number in range(count)
    ]


def erased(team: Team | None, *pks: int) -> int:
    """Redact these entries completely, as an erasure does, with an entry that vouches for it."""
    return redactions.redact(pks, redactions.blank, actor=actor(), team=team, reason="ABCD-EFGH")


def named(person: Person) -> Person:
    """Write the creation entry for a person who wasn't created by an action."""
    audit.record(
        actor=actor(),
        team=person.space.team,
        action="person.create",
        target=person,
        after={"space": 0, "person_id": person.person_id, "label": person.label},
    )
    return person


def chain_of(team: Team, user: User) -> list[AuditEntry]:
    """A chain of twelve entries, with seals at the sixth and at the last."""
    for _ in range(2):
        written(team, user, 6)
        seal_audit()
        AuditChain.objects.update(signed_at=None)
    return list(AuditEntry.objects.filter(team=team).order_by("sequence"))


def random_entries(team: Team, user: User, random: Random) -> None:
    for _ in range(random.randint(1, 5)):
        audit.record(
            actor=Actor(
                user=random.choice([user, None]),
                source=random.choice(list(Source)),
                text=random.choice(["", "key Tür", "manage.py x"]),
                address=random.choice([None, "192.0.2.7", "2001:db8:0:0::1", "::ffff:1.2.3.4"]),
            ),
            team=team,
            action=random.choice(["face.name", "gallery.create", "key.revoke"]),
            target=random.choice([None, team, user]),
            before=random.choice([None, {}, {"a": random.random()}, {"n": 1e-7, "m": 123.0}]),
            after=random.choice([None, {"text": "é\u0301"}, {"many": list(range(50))}]),
            reason=random.choice(["", "“Because”"]),
        )


# --- Changing rows by hand ---


@contextmanager
def by_hand() -> Iterator[None]:
    """Switch the triggers off, as a superuser can, and on again afterwards."""
    if connection.vendor == "postgresql":
        execute("SET session_replication_role = replica")
        yield
        execute("SET session_replication_role = origin")
    else:
        triggers.remove()
        yield
        triggers.install()


def execute(sql: str, values: Any = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(values))


def rewrite(row: Model, **columns: object) -> None:
    with by_hand():
        QuerySet(type(row)).filter(pk=row.pk).update(**columns)


def remove(rows: QuerySet[Any]) -> None:
    pks = ", ".join(str(pk) for pk in rows.values_list("pk", flat=True))
    with by_hand():
        execute(f"DELETE FROM {rows.model._meta.db_table} WHERE id IN ({pks})")


def swap(one: AuditEntry, other: AuditEntry) -> None:
    """Swap the two entries' places in the chain."""
    with by_hand():
        rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
        rows.filter(pk=one.pk).update(sequence=None)
        rows.filter(pk=other.pk).update(sequence=one.sequence)
        rows.filter(pk=one.pk).update(sequence=other.sequence)


def inserted(like: AuditEntry, **columns: object) -> list[AuditEntry]:
    """Insert a copy of an entry with these columns changed; by default without a place."""
    one = AuditEntry.objects.get(pk=like.pk)
    one.pk, one._state.adding = None, True
    for name, value in {"sequence": None, "previous": "", "hash": "", **columns}.items():
        setattr(one, name, value)
    one.save(force_insert=True)
    return [one]


TABLES = (AuditEntry, AuditSeal, AuditChain)


def backup() -> dict[type[Model], list[Any]]:
    """All rows of the audit's tables."""
    return {model: list(QuerySet(model).order_by("pk")) for model in TABLES}


def restore(saved: dict[type[Model], list[Any]]) -> None:
    for model in TABLES:
        with by_hand():
            execute(f"DELETE FROM {model._meta.db_table}")
        QuerySet(model).bulk_create(saved[model])
