"""No parameter value makes any address answer with a 5xx.

The parameters' names are found in the code, so that new ones are tried automatically.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.urls import Resolver404, URLPattern, resolve

from tests.support.access_table import TABLE, World, ask, routes, store_pictures, world
from tests.support.processes import ROOT

__all__ = ["world"]

pytestmark = pytest.mark.thorough

VALUES = {
    "5,000 digits": "9" * 5000,
    "beyond 64 bits": "9" * 19,
    "digits of another script": "٣٢١",
    "a digit that is no number": "²",
    "a NUL": "1\0",
    "below zero": "-9",
    "no end": "1e999",
    "no number": "nan",
    "half a pair": "." * 3,
    "nothing": " ",
}
TOKENS = {"done", "have", "at", "undo", "of"}
PREFIXES = ("", "f", "p", "d", "c", "s")
"""What parameters that name one of several kinds begin with."""
NUMBERS = ("9" * 5000, "9" * 19, "9" * 18, "٣")
ALONE = ("5,000 digits", "a digit that is no number")

_ASKED = re.compile(
    r"(?:GET|POST|query_params|data|params|given|given\.data)(?:\.get|\.getlist)?[\[(]\s*\"([\w.]+)\""
)
_NAMED = re.compile(
    r"\b(?:address|choice|day|decimal|keys|flag|matching|moment|number|numbers|raw|share|texts)\(\s*\"(\w+)\""
)


@cache
def names_in(source: str) -> frozenset[str]:
    return frozenset(_ASKED.findall(source)) | frozenset(_NAMED.findall(source))


@cache
def every_name() -> tuple[str, ...]:
    found: set[str] = set()
    for folder in ("dashboard", "persons"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= names_in(path.read_text())
    # Of forms, which have no text in the code, and of lists that stand in constants.
    return tuple(sorted(found | {"photo", "face", "space", "gallery", "cursor", "limit", "after"}))


def names_of(pattern: URLPattern) -> tuple[str, ...]:
    """What the module of the view asks for; parameters that are read elsewhere are in the test of
    all names at once."""
    module: ModuleType | None = inspect.getmodule(inspect.unwrap(pattern.callback))
    if module is None or not module.__file__:
        return ()
    return tuple(sorted(names_in(Path(module.__file__).read_text())))


def requests(route: str, pattern: URLPattern) -> Iterator[dict[str, Any]]:
    names = names_of(pattern)
    for value in VALUES.values():
        yield dict.fromkeys(every_name(), value)
    for prefix in PREFIXES if TOKENS.intersection(names) else ("",):
        for value in ALONE:
            yield dict.fromkeys(names, f"{prefix}{VALUES[value]}")
    for name in names:
        # A token is a letter that says what of, and a number.
        for prefix in PREFIXES if name in TOKENS else ("",):
            yield {name: f"{prefix}{VALUES[ALONE[0]]}"}


PATTERNS = {route: pattern for route, pattern in routes() if route in TABLE}


def test_the_names_of_parameters_are_found() -> None:
    assert {"done", "have", "by", "to", "at", "before", "person"} <= set(every_name())
    assert len(every_name()) > 60


@pytest.mark.any_database
@pytest.mark.parametrize("route", sorted(PATTERNS))
def test_no_parameter_breaks_an_address(route: str, world: World) -> None:
    entry = TABLE[route]
    address = world.address(route)
    if "/media/" in route or route.startswith("s/"):
        store_pictures()
    client = world.clients["owner"]
    client.raise_request_exception = False
    broken = {}
    for given in requests(route, PATTERNS[route]):
        for method in entry.rules:
            if method not in ("get", "post"):
                continue
            status = ask(client, method, address, given).status_code
            if status >= 500:
                name, value = next(iter(given.items()))
                broken[method, name if len(given) == 1 else "all", value[:3], len(value)] = status
    broken |= broken_by_numbers(route, world)
    assert not broken


def broken_by_numbers(route: str, world: World) -> dict[Any, int]:
    """By what stands in the address itself."""
    broken = {}
    for name in re.findall(r"<int:(\w+)>", route):
        for value in NUMBERS:
            address = world.address(route.replace(f"<int:{name}>", value, 1))
            try:
                resolve(address)
            except Resolver404:
                continue
            for method in TABLE[route].rules:
                status = ask(world.clients["owner"], method, address, {}).status_code
                if status >= 500:
                    broken[method, name, value[:3], len(value)] = status
    return broken
