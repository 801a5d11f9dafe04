"""Database triggers that refuse to change or delete audit entries and seals.

Allowed changes: an entry is sealed or its payload is redacted, a seal is marked as copied outside.
Triggers can't tell a genuine redaction; a later signed entry vouches for it (`verify.Redactions`).
The database's owner can drop the triggers. Verification reports that, and what was altered.

Every migration is followed by a reinstall: SQLite rebuilds a table to alter it and drops triggers.
"""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from persons.models import AuditEntry, AuditSeal

PLACE = ("sequence", "previous", "hash")
PAYLOAD = ("target_text", "before", "after", "reason", "salt", "erased_at")
TEXTS = ("target_text", "reason")
"""A redaction keeps each of these unchanged or empties it."""
ENTRIES, SEALS = AuditEntry._meta.db_table, AuditSeal._meta.db_table
NAMES = ("audit_entry_kept", "audit_entry_stays", "audit_seal_kept", "audit_seal_stays")
TRUNCATED = ("audit_entry_not_emptied", "audit_seal_not_emptied")
REFUSAL = "The audit is never changed."


def install(db: BaseDatabaseWrapper | None = None) -> None:
    db = db or connections[DEFAULT_DB_ALIAS]
    remove(db)
    with db.cursor() as cursor:
        for sql in _postgresql() if db.vendor == "postgresql" else _sqlite():
            cursor.execute(sql)


def remove(db: BaseDatabaseWrapper | None = None) -> None:
    """Remove the triggers, so that tests can empty the database."""
    db = db or connections[DEFAULT_DB_ALIAS]
    with db.cursor() as cursor:
        for name in (*NAMES, *TRUNCATED):
            on = f" ON {SEALS if 'seal' in name else ENTRIES}" if db.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on}")


def missing() -> list[str]:
    """Names of triggers that are missing or disabled."""
    db = connections[DEFAULT_DB_ALIAS]
    if db.vendor == "postgresql":
        wanted: tuple[str, ...] = (*NAMES, *TRUNCATED)
        sql = (
            "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A') AND NOT tgisinternal "
            "AND tgrelid IN (%s::regclass, %s::regclass)"
        )
        values = [ENTRIES, SEALS]
    else:
        wanted = NAMES
        sql, values = "SELECT name FROM sqlite_master WHERE type = 'trigger'", []
    with db.cursor() as cursor:
        cursor.execute(sql, values)
        found = {name for (name,) in cursor.fetchall()}
    return [name for name in wanted if name not in found]


def installed(**kwargs: Any) -> None:
    """Receiver of `post_migrate`."""
    db = connections[kwargs["using"]]
    tables = db.introspection.table_names()
    if {ENTRIES, SEALS} <= set(tables) and _has_columns(db):
        install(db)


def _has_columns(db: BaseDatabaseWrapper) -> bool:
    """False if the database was migrated back to an earlier state."""
    with db.cursor() as cursor:
        found = {one.name for one in db.introspection.get_table_description(cursor, ENTRIES)}
    return set(_columns(AuditEntry)) <= found


def _columns(model: type[Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields]


def _sqlite() -> list[str]:
    placed = _same(AuditEntry, PLACE)
    texts = " AND ".join(f"NEW.{name} IN ('', OLD.{name})" for name in TEXTS)
    erased = _same(AuditEntry, PAYLOAD)
    may = (
        f"(OLD.sequence IS NULL AND NEW.sequence IS NOT NULL AND {placed}) OR "
        f"(NEW.erased_at IS NOT NULL AND NEW.salt <> OLD.salt AND {texts} AND {erased})"
    )
    copied = _same(AuditSeal, ("copied_at",))
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    return [
        f"CREATE TRIGGER {NAMES[0]} BEFORE UPDATE ON {ENTRIES} WHEN NOT ({may}) {refuse}",
        f"CREATE TRIGGER {NAMES[1]} BEFORE DELETE ON {ENTRIES} {refuse}",
        f"CREATE TRIGGER {NAMES[2]} BEFORE UPDATE ON {SEALS} WHEN NOT ({copied}) {refuse}",
        f"CREATE TRIGGER {NAMES[3]} BEFORE DELETE ON {SEALS} {refuse}",
    ]


def _same(model: type[Model], but: tuple[str, ...]) -> str:
    kept = (name for name in _columns(model) if name not in but)
    return " AND ".join(f'NEW."{name}" IS OLD."{name}"' for name in kept)


def _postgresql() -> list[str]:
    place = " ".join(f"same.{name} := OLD.{name};" for name in PLACE)
    texts = " AND ".join(f"NEW.{name} IN ('', OLD.{name})" for name in TEXTS)
    payload = " ".join(f"same.{name} := OLD.{name};" for name in PAYLOAD)
    entry = f"""
        CREATE OR REPLACE FUNCTION audit_entry_kept() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE same {ENTRIES}%ROWTYPE;
        BEGIN
            same := NEW;
            IF OLD.sequence IS NULL AND NEW.sequence IS NOT NULL THEN
                {place}
                IF same IS NOT DISTINCT FROM OLD THEN RETURN NEW; END IF;
            ELSIF NEW.erased_at IS NOT NULL AND NEW.salt <> OLD.salt AND {texts} THEN
                {payload}
                IF same IS NOT DISTINCT FROM OLD THEN RETURN NEW; END IF;
            END IF;
            RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = '23000';
        END $$"""
    seal = f"""
        CREATE OR REPLACE FUNCTION audit_seal_kept() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE same {SEALS}%ROWTYPE;
        BEGIN
            same := NEW;
            same.copied_at := OLD.copied_at;
            IF same IS NOT DISTINCT FROM OLD THEN RETURN NEW; END IF;
            RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = '23000';
        END $$"""
    stays = f"""
        CREATE OR REPLACE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = '23000'; END $$"""
    each, whole = "FOR EACH ROW EXECUTE FUNCTION", "FOR EACH STATEMENT EXECUTE FUNCTION"
    return [
        entry,
        seal,
        stays,
        f"CREATE TRIGGER {NAMES[0]} BEFORE UPDATE ON {ENTRIES} {each} audit_entry_kept()",
        f"CREATE TRIGGER {NAMES[1]} BEFORE DELETE ON {ENTRIES} {each} audit_stays()",
        f"CREATE TRIGGER {NAMES[2]} BEFORE UPDATE ON {SEALS} {each} audit_seal_kept()",
        f"CREATE TRIGGER {NAMES[3]} BEFORE DELETE ON {SEALS} {each} audit_stays()",
        f"CREATE TRIGGER {TRUNCATED[0]} BEFORE TRUNCATE ON {ENTRIES} {whole} audit_stays()",
        f"CREATE TRIGGER {TRUNCATED[1]} BEFORE TRUNCATE ON {SEALS} {whole} audit_stays()",
    ]
