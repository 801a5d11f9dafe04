"""Converts frozen dataclasses to JSON and back, for both ends. A value of the wrong type is an
error."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_LONGEST_TEXT = 10_000
_LONGEST_LIST = 10_000
_LARGEST = 1 << 53


def as_json(record: Any) -> dict[str, Any]:
    return {one.name: _as_plain(getattr(record, one.name)) for one in dataclasses.fields(record)}


def _as_plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_as_plain(one) for one in value]
    return value


def from_json(kind: type[T], data: Mapping[str, Any], /, **known: Any) -> T:
    """Build a `kind` from JSON. `known` are fields that the caller sets, whatever the answer says.
    Raises ValueError."""
    hints = get_type_hints(kind)
    values = dict(known)
    for one in dataclasses.fields(kind):  # type: ignore[arg-type]
        if one.name in known:
            continue
        if one.name not in data:
            raise ValueError(f"{one.name} is missing")
        values[one.name] = _checked(hints[one.name], data[one.name])
    return kind(**values)


def _checked(hint: Any, value: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (rest,) = (one for one in inner if one is not type(None))
        return _checked(rest, value)
    if origin is tuple:
        return _tuple(inner, value)
    if hint is datetime:
        return datetime.fromisoformat(_plain(str, value))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return _plain(hint, value)


def _tuple(inner: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) > _LONGEST_LIST:
        raise ValueError("not a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_checked(inner[0], one) for one in value)
    if len(value) != len(inner):
        raise ValueError("not so many")
    return tuple(_checked(one, part) for one, part in zip(inner, value, strict=True))


def _plain(hint: Any, value: Any) -> Any:
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint not in (int, str, bool) or type(value) is not hint:
        raise ValueError(f"not {hint}")
    if hint is str and len(value) > _LONGEST_TEXT:
        raise ValueError("too long")
    if hint is int and not -_LARGEST <= value <= _LARGEST:
        raise ValueError("too large")
    return value
