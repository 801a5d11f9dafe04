"""Every address of the site, tried with every method by every kind of user.

`TABLE` has the expected results. The addresses come from the URL resolver, so that a new address
without an entry fails here, and so does an entry whose address is gone.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from tests.support.access_table import (
    LOGIN,
    METHODS,
    OK,
    TABLE,
    WHO,
    Entry,
    World,
    ask,
    routes,
    store_pictures,
    world,
)

__all__ = ["world"]

# What is asked of the database here is asked by the pages' own tests as well.
pytestmark = [pytest.mark.any_database, pytest.mark.thorough]


def test_every_address_has_an_entry_and_every_entry_an_address() -> None:
    found = [route for route, _ in routes()]
    assert sorted(found) == sorted(TABLE)


def outcome(response: Any) -> int | str:
    status: int = response.status_code
    if status in (301, 302, 303):
        return LOGIN if response["Location"].startswith("/login/?next=") else OK
    if status < 300 or status in (400, 409, 415, 422):
        return OK
    return status


@pytest.mark.parametrize("route", sorted(TABLE))
def test_everybody_gets_what_the_table_says(route: str, world: World) -> None:
    entry = TABLE[route]
    address = world.address(route)
    if "/media/" in route or route.startswith("s/"):
        store_pictures()
    if "/snapshots/" in route:
        default_storage.save("snapshots/one.zip", ContentFile(b"PK"))
    data = {key: value.format_map(world.keys) for key, value in entry.data.items()}
    wrong = {}
    for method in METHODS:
        for who in WHO:
            response = ask(world.clients[who], method, address, data if method == "post" else {})
            got, expected = outcome(response), _expected(entry, method, who)
            if got not in expected:
                wrong[method, who] = f"{got}, not {expected}"
    assert not wrong, f"{address}: {wrong}"


def _expected(entry: Entry, method: str, who: str) -> tuple[int | str, ...]:
    if method in entry.rules:
        return (entry.rules[method][who],)
    # Whoever is not signed in need not even learn which methods there are.
    return (405, 401, LOGIN) if who == "anonymous" else (405,)


OWN_TOO = tuple(
    f"/spaces/<int:number>/{rest}"
    for rest in ("", "people/", "names", "zones", "truncate", "snapshots/take", "snapshots/upload")
)
"""What a space of the same number of any other team has."""


def test_nothing_of_a_team_is_reached_through_another_team_s_address(world: World) -> None:
    """Charlie owns his team: whatever he is let in to there must be his own."""
    for route in TABLE:
        if "<slug:team>" not in route or route.replace("<str:form>", "").count("<") == 1:
            continue
        for method in TABLE[route].rules:
            address = world.address(route, team="others")
            response = ask(world.clients["stranger"], method, address, {})
            if route.endswith(OWN_TOO):
                # He has a space of that number himself.
                assert "Anna" not in response.text
            else:
                assert response.status_code == 404, f"{method} {address}"


def test_a_team_that_is_not_yours_looks_as_one_that_does_not_exist(world: World) -> None:
    client = world.clients["stranger"]
    for route in TABLE:
        if "<slug:team>" not in route:
            continue
        for method in TABLE[route].rules:
            theirs = ask(client, method, world.address(route), {})
            none = ask(client, method, world.address(route, team="nowhere"), {})
            assert theirs.status_code == none.status_code == 404, f"{method} {route}"
            if route.startswith("rest/"):
                assert theirs.content == none.content
