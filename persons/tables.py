"""What the ORM knows of a model's table, for statements that are written out."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
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

# Texts and numbers in these columns go to the database as they are.
_PLAIN_COLUMNS = (CharField, ForeignKey, IntegerField, TextField)
_PLAIN_VALUES = frozenset({str, int, type(None)})


class Table(Generic[M]):
    """A model's table: all its columns, in the model's order."""

    def __init__(self, model: type[M]) -> None:
        self._model = model
        self._fields = cast("list[Field[Any, Any]]", model._meta.concrete_fields)
        self._names = [str(field.attname) for field in self._fields]
        self.name = f'"{model._meta.db_table}"'
        self.width = len(self._fields)

    def columns(self, alias: str) -> str:
        return ", ".join(f'{alias}."{field.column}"' for field in self._fields)

    def load(self, row: Sequence[Any]) -> M:
        """The object of one row's columns."""
        db, found = database(), list(row)
        for position, column, convert in self._converters:
            found[position] = convert(found[position], column, db)
        return self._model.from_db(db.alias, self._names, found)

    def insert(self, rows: Sequence[M], **instead: str) -> Statement:
        """Of new rows, into a table that is called `old`; without RETURNING.

        `instead` are expressions that stand for a column's values.
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
        """Of the attributes `names` of rows that there are; `instead`, for one row alone, are
        expressions that stand for their values."""
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
        """What PostgreSQL has to be told of a column of VALUES, which is text if it is all NULL."""
        db = database()
        if db.vendor != "postgresql":
            return dict.fromkeys(self._by_name, "")
        return {
            name: "" if isinstance(field, (CharField, TextField)) else f"::{field.db_type(db)}"
            for name, field in self._by_name.items()
        }

    @cached_property
    def _converters(self) -> list[tuple[int, Any, Any]]:
        """As the ORM's compiler has them: what the database's types become in Python."""
        db = database()
        columns = enumerate(cast("Any", field).cached_col for field in self._fields)
        return [
            (position, column, convert)
            for position, column in columns
            for convert in [*db.ops.get_db_converters(column), *column.get_db_converters(db)]
        ]


def database() -> BaseDatabaseWrapper:
    """This thread's; `django.db.connection` looks it up again for every attribute."""
    return connections[DEFAULT_DB_ALIAS]


def run(*statements: Statement) -> None:
    """In this order, in the caller's transaction."""
    for statement in _joined(statements):
        _execute(statement)


def save(table: Table[M], some: Sequence[M], names: Sequence[str]) -> None:
    """These attributes of rows that there are, in a statement for each 500 of them.

    As the ORM's `bulk_update`, whose statement it takes both Python and the database ten times as
    long to read: it has a WHEN for each row and column.
    """
    for start in range(0, len(some), SAVED_AT_ONCE):
        run(table.update(some[start : start + SAVED_AT_ONCE], names))


def rows(*statements: Statement) -> list[Row]:
    """As `run`; the last one's rows."""
    *first, last = _joined(statements)
    for statement in first:
        _execute(statement)
    return _execute(last, fetch=True)


def _execute(statement: Statement, *, fetch: bool = False) -> list[Row]:
    """On PostgreSQL as a prepared statement, since to read and plan one of these anew takes longer
    than to carry it out, and Django's own cursors don't prepare.

    Not where somebody looks on (the log of queries, `execute_wrapper`), and neither a list of
    values whose types nothing tells but they themselves nor one that is hardly sent twice.
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


def one_of(column: str, pks: Sequence[int], sql: str) -> Statement:
    """`sql` with the condition that a column has one of these values in the place of its {}.

    One value, an array or JSON, however many there are: a prepared statement for each number of
    them would drive those out that are worth it.
    """
    if database().vendor == "postgresql":
        return sql.format(f"{column} = ANY(%s::bigint[])"), [list(pks)]
    return sql.format(f"{column} IN (SELECT value FROM json_each(%s))"), [json.dumps(list(pks))]


def _joined(statements: Sequence[Statement]) -> Sequence[Statement]:
    """PostgreSQL gets several as one: a trip there and back costs more than what they do."""
    if len(statements) == 1 or database().vendor != "postgresql":
        return statements
    *first, (last, values) = statements
    steps = ", ".join(f"step{number} AS ({sql})" for number, (sql, _) in enumerate(first))
    before = [value for _, more in first for value in more]
    return [(f"WITH {steps} {last}", [*before, *values])]


def _stored(field: Field[Any, Any], row: Model, db: BaseDatabaseWrapper) -> Any:
    value = field.pre_save(row, True)
    if type(value) in _PLAIN_VALUES and isinstance(field, _PLAIN_COLUMNS):
        return value
    return field.get_db_prep_save(value, db)
