"""Table metadata from the ORM, for hand-written SQL, and the helpers that execute it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Field, ForeignKey, IntegerField, Model, TextField
from psycopg import Cursor as ServerCursor

M = TypeVar("M", bound=Model)
Row = tuple[Any, ...]
Statement = tuple[str, Sequence[Any]]

MOST_PREPARED = 500
"""Values of a statement that is worth a place among a connection's prepared ones."""

SAVED_AT_ONCE = 500

# Columns whose texts and numbers need no conversion for the database.
_PLAIN_COLUMNS = (CharField, ForeignKey, IntegerField, TextField)
_PLAIN_VALUES = frozenset({str, int, type(None)})


class Table(Generic[M]):
    """A model's table with all its columns, in the order of the model's fields."""

    def __init__(self, model: type[M]) -> None:
        self._model = model
        self._fields = cast("list[Field[Any, Any]]", model._meta.concrete_fields)
        self._names = [str(field.attname) for field in self._fields]
        self.name = f'"{model._meta.db_table}"'
        self.width = len(self._fields)

    def columns(self, alias: str) -> str:
        return ", ".join(f'{alias}."{field.column}"' for field in self._fields)

    def load(self, row: Sequence[Any]) -> M:
        """Build the object from one row that has all columns in order."""
        db, found = database(), list(row)
        for position, column, convert in self._converters:
            found[position] = convert(found[position], column, db)
        return self._model.from_db(db.alias, self._names, found)

    def insert(self, rows: Sequence[M], **instead: str) -> Statement:
        """An INSERT of new rows without RETURNING; the table has the alias `old`.

        `instead` maps columns to SQL expressions that replace their values.
        """
        db = database()
        fields = [field for field in self._fields if not field.primary_key]
        given = [field for field in fields if str(field.column) not in instead]
        one = ", ".join(instead.get(str(field.column), "%s") for field in fields)
        names = ", ".join(f'"{field.column}"' for field in fields)
        values = ", ".join([f"({one})"] * len(rows))
        return (
            f"INSERT INTO {self.name} AS old ({names}) VALUES {values}",
            [_stored(field, row, db) for row in rows for field in given],
        )

    def update(self, rows: Sequence[M], names: Sequence[str], **instead: str) -> Statement:
        """An UPDATE of the attributes `names` of existing rows. `instead` maps attributes to SQL
        expressions that replace their values; it is for a single row only."""
        if len(rows) == 1:
            given = [name for name in names if name not in instead]
            new = ", ".join(f"{self._column(name)} = {instead.get(name, '%s')}" for name in names)
            return f"UPDATE {self.name} SET {new} WHERE id = %s", self._new(rows[0], given)
        new = ", ".join(
            f"{self._column(name)} = new.column{place}{self._casts[name]}"
            for place, name in enumerate(names, 1)
        )
        values = ", ".join([f"({places([*names, 'id'])})"] * len(rows))
        sql = (
            f"UPDATE {self.name} SET {new} FROM (VALUES {values}) AS new "
            f"WHERE {self.name}.id = new.column{len(names) + 1}"
        )
        return sql, [value for row in rows for value in self._new(row, names)]

    def _new(self, row: M, names: Sequence[str]) -> list[Any]:
        db = database()
        return [*(_stored(self._by_name[name], row, db) for name in names), row.pk]

    def _column(self, name: str) -> str:
        return f'"{self._by_name[name].column}"'

    @cached_property
    def _by_name(self) -> dict[str, Field[Any, Any]]:
        return dict(zip(self._names, self._fields, strict=True))

    @cached_property
    def _casts(self) -> dict[str, str]:
        """Casts for the columns of VALUES: PostgreSQL takes a column that is all NULL for text."""
        db = database()
        if db.vendor != "postgresql":
            return dict.fromkeys(self._by_name, "")
        return {
            name: "" if isinstance(field, (CharField, TextField)) else f"::{field.db_type(db)}"
            for name, field in self._by_name.items()
        }

    @cached_property
    def _converters(self) -> list[tuple[int, Any, Any]]:
        """Converters from database types to Python, as the ORM's compiler applies them."""
        db = database()
        columns = enumerate(cast("Any", field).cached_col for field in self._fields)
        return [
            (position, column, convert)
            for position, column in columns
            for convert in [*db.ops.get_db_converters(column), *column.get_db_converters(db)]
        ]


def database() -> BaseDatabaseWrapper:
    """This thread's connection. `django.db.connection` looks it up again for every attribute."""
    return connections[DEFAULT_DB_ALIAS]


def run(last: Statement, **steps: Statement) -> None:
    """The steps in their order, then the last one, in the caller's transaction.

    On PostgreSQL a step's RETURNING is there for later ones as a table of its name.
    """
    for statement in _joined(last, steps):
        _execute(statement)


def save(table: Table[M], some: Sequence[M], names: Sequence[str]) -> None:
    """Save these attributes of existing rows, 500 rows per statement.

    Replaces the ORM's `bulk_update`, whose statement has a WHEN for each row and column and takes
    Python and the database ten times as long to process.
    """
    for start in range(0, len(some), SAVED_AT_ONCE):
        run(table.update(some[start : start + SAVED_AT_ONCE], names))


def rows(last: Statement, **steps: Statement) -> list[Row]:
    """As `run`; the last one's rows."""
    *first, last = _joined(last, steps)
    for statement in first:
        _execute(statement)
    return _execute(last, fetch=True)


def _execute(statement: Statement, *, fetch: bool = False) -> list[Row]:
    """Execute as a prepared statement on PostgreSQL: parsing and planning these statements takes
    longer than running them, and Django's own cursors don't prepare.

    Not prepared: anything while a query log or `execute_wrapper` is active, statements with an
    untyped VALUES list, and those with more than MOST_PREPARED values, which rarely recur.
    """
    sql, values = statement
    db = database()
    is_watched = db.queries_logged or db.execute_wrappers
    is_odd = len(values) > MOST_PREPARED or "FROM (VALUES" in sql
    if db.vendor != "postgresql" or is_watched or is_odd:
        with db.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall()) if fetch else []
    db.close_if_health_check_failed()
    db.ensure_connection()
    db.validate_no_broken_transaction()
    with db.wrap_database_errors, ServerCursor(db.connection) as prepared:
        prepared.execute(sql, values, prepare=True)
        return prepared.fetchall() if fetch else []


def returning(columns: str, statement: Statement) -> Statement:
    sql, values = statement
    return f"{sql} RETURNING {columns}", values


def places(values: Collection[Any]) -> str:
    return ", ".join(["%s"] * len(values))


def _joined(last: Statement, steps: Mapping[str, Statement]) -> Sequence[Statement]:
    """PostgreSQL gets several as one: a trip there and back costs more than what they do."""
    if not steps or database().vendor != "postgresql":
        return [*steps.values(), last]
    named = ", ".join(f"{name} AS ({sql})" for name, (sql, _) in steps.items())
    sql, values = last
    before = [value for _, more in steps.values() for value in more]
    return [(f"WITH {named} {sql}", [*before, *values])]


def _stored(field: Field[Any, Any], row: Model, db: BaseDatabaseWrapper) -> Any:
    value = field.pre_save(row, True)
    if type(value) in _PLAIN_VALUES and isinstance(field, _PLAIN_COLUMNS):
        return value
    return field.get_db_prep_save(value, db)
