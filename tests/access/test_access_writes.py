"""Every address that writes, tried by everybody against a closed gallery.

Addresses and forms name the gallery's rows. Users who may not see it get 404 and readers get 403;
neither may change a row of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from persons.models import Gallery, GalleryMember, LegalHold, Role, Team, User
from tests.support.access_table import KINDS, PROXY, TABLE, World
from tests.support.everything import Keys, ask, fill, state
from tests.support.factories import GalleryFactory, MembershipFactory

pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

SignIn = Callable[[User], Client]

WHO = ("stranger", "viewer", "auditor", "looker", "outsider")
"""`looker` and `outsider` are editors of the team: one may look at the closed gallery, the other is
not one of its members."""

OF_THE_TEAM = (
    "/people/<int:person_id>/rename",
    "/people/<int:person_id>/notes",
    "/people/<int:person_id>/hide",
    "/people/<int:person_id>/merge",
    "/people/<int:person_id>/different",
    "/people/<int:person_id>/remove",
    "/people/<int:person_id>/sync",
    "/people/<int:person_id>/consent",
    "/people/<int:person_id>/",
    "/consents/<int:pk>/withdraw",
    "/likenesses/<int:pk>/forget",
    "/people/hide",
    "/people/merge",
    "/galleries/new",
    "/galleries/",
    "/groups/merge",
    "/reason/",
)
"""People are the team's: what is said of somebody, not of their faces, is any editor's to say."""


def forms(keys: Keys) -> dict[str, list[dict[str, Any]]]:
    """What is sent to addresses that name rows in their forms, by the end of their routes."""
    face, unknown, grouped = keys["face"], keys["unknown"], keys["grouped"]
    review = [
        {"face": unknown, "label": "Mallory"},
        *({"face": face, "do": do} for do in ("confirm", "reject", "ignore", "clear")),
        {"do": "undo", "done": f"c{keys['change']}"},
        {"do": "undo"},
        {"do": "undo", "done": f"s0.{face}"},
        {"do": "rest", "queued": f"face={unknown}&do=ignore"},
        {"do": "rest", "queued": f"do=undo&done=c{keys['change']}"},
        {"do": "more", "have": f"f{face}"},
    ]
    many = [
        *({"face": [face], "yes": [face], "do": do} for do in ("confirm", "reject", "sort")),
    ]
    return {
        "/review/": review,
        "/review/keep": [{"face": [face, unknown]}],
        "/review/undo": [{"done": str(keys["change"])}],
        "/review/many/<int:number>/<int:person_id>/": many,
        "/groups/start": [{"of": f"g:{keys['slug']}"}],
        "/groups/of/<int:number>/<int:person_id>/": [
            {"face": [grouped], "yes": [grouped], "do": "name", "label": "Mallory"},
            {"face": [grouped], "do": "out"},
            {"whole": "1", "do": "ignore"},
            {"whole": "1", "do": "unknown"},
            {"face": [unknown], "yes": [unknown], "do": "ignore"},
        ],
        "/groups/<int:pk>/steer": [
            {"do": "threshold", "threshold": "50"},
            {"do": "make"},
            {"do": "cancel"},
        ],
        "/people/<int:person_id>/faces": [
            {"face": [face], "do": do} for do in ("confirm", "reject", "ignore", "cover", "enrol")
        ],
        "/people/<int:person_id>/split": [{"face": [face], "label": "Mallory", "sure": "1"}],
        "/trash/restore": [{"photo": [keys["trashed"]]}, {"all": "1"}],
        "/trash/empty": [{"sure": "yes"}],
        "/photos/trash": [{"photo": [keys["photo"]]}],
        "/photos/move": [{"photo": [keys["photo"]], "to": "open"}],
        "/photos/recognise": [{"photo": [keys["photo"]]}],
        "/rename": [{"name": "Mine"}],
        "/share/members": [{"user": keys["user"], "role": "editor"}],
        "/share/links": [{"days": "30"}],
        "/share/open": [{"open": "yes"}],
        "/privacy/hold": [{"gallery": keys["slug"], "reason": "Case 13"}],
        "/name": [{"label": "Mallory"}],
        "/name/": [{"label": "Mallory"}],
        "/draw": [{"left": "1", "top": "1", "right": "9", "bottom": "9", "label": "Mallory"}],
    }


READS = ("/photos/zip",)
"""They take no write, and tell nothing to those who may not look: tests/access/test_access.py."""


@pytest.fixture
def clients(
    team: Team, bob: User, vera: User, audrey: User, charlie: User, sign_in: SignIn
) -> dict[str, Client]:
    looker: User = MembershipFactory.create(team=team, role=Role.EDITOR).user
    people = {
        "stranger": charlie,
        "viewer": vera,
        "auditor": audrey,
        "looker": looker,
        "outsider": bob,
    }
    found = {}
    for who, user in people.items():
        found[who] = Client()
        found[who].force_login(user)
    return found


@pytest.fixture
def closed(team: Team, alice: User, clients: dict[str, Client]) -> Keys:
    GalleryFactory.create(team=team, slug="open")
    gallery: Gallery = GalleryFactory.create(team=team, slug="secret", is_open=False)
    keys = fill(gallery, alice, person_id=500, prefix="secret")
    looker = User.objects.get(pk=clients["looker"].session["_auth_user_id"])
    GalleryMember.objects.create(gallery=gallery, user=looker, role=Role.VIEWER)
    return keys


def requests(keys: Keys) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(route, method, form) of everything that writes in a team."""
    sent = forms(keys)
    for route, entry in sorted(TABLE.items()):
        if "<slug:team>" not in route or route in PROXY or route.endswith(READS):
            continue
        longest = max((end for end in sent if route.endswith(end)), key=len, default="")
        for method in entry.rules:
            if method != "get":
                for form in sent.get(longest, [{}]):
                    yield route, method, form


def names_a_row(route: str) -> bool:
    """Whether its path names something of the gallery itself."""
    parts = route.split("/")
    kinds = {KINDS.get(parts[at - 1]) for at, part in enumerate(parts) if part == "<int:pk>"}
    own = {"photo", "face", "enrolment", "change", "grouping", "trashed", "gallery_member"}
    return "<slug:slug>" in route or bool(kinds & own)


@pytest.mark.parametrize("who", WHO)
def test_nobody_writes_to_a_closed_gallery_who_may_not(
    who: str, team: Team, closed: Keys, clients: dict[str, Client]
) -> None:
    world = World(team, clients, closed | {"form": "csv", "group": closed["group"]})
    before = state()
    wrong = []
    asked = 0
    for route, method, form in requests(closed):
        person = closed["group"] if "/groups/of/" in route else closed["person_id"]
        address = world.address(route, person_id=person)
        told = ask(clients[who], method, address, form, before=before)
        asked += 1
        if route.endswith(OF_THE_TEAM) and who in ("looker", "outsider"):
            continue
        if told.changed:
            wrong.append(f"{method} {address} {form}: a row was changed ({told.status})")
        is_refused = told.status in ((404,) if who == "stranger" else (403, 404))
        if names_a_row(route) and not is_refused:
            wrong.append(f"{method} {address} {form}: {told.status}")
        # What is an owner's alone asks for the role first.
        owners = route.endswith(("/revoke", "/release"))
        if names_a_row(route) and who == "outsider" and told.status == 403 and not owners:
            wrong.append(f"{method} {address} {form}: 403 says that it is there")
    assert asked > 60
    assert not wrong, "\n".join(wrong)


def test_its_own_editor_may_do_what_the_others_may_not(
    team: Team, closed: Keys, clients: dict[str, Client]
) -> None:
    """Else the test above would hold of forms that do nothing for anybody."""
    GalleryMember.objects.filter(role=Role.VIEWER).update(role=Role.EDITOR)
    # Nothing leaves a gallery that is held.
    LegalHold.objects.update(released_at=timezone.now())
    world = World(team, clients, closed | {"form": "csv"})
    before = state()
    changing = set()
    for route, method, form in requests(closed):
        person = closed["group"] if "/groups/of/" in route else closed["person_id"]
        address = world.address(route, person_id=person)
        if ask(clients["looker"], method, address, form, before=before).changed:
            changing.add(route)
    for end in (
        "/review/",
        "/review/many/<int:number>/<int:person_id>/",
        "/groups/of/<int:number>/<int:person_id>/",
        "/people/<int:person_id>/faces",
        "/people/<int:person_id>/split",
        "/photos/trash",
        "/photos/move",
        "/trash/restore",
        "/faces/<int:pk>/ignore",
        "/enrolments/<int:pk>/remove",
        "/groups/<int:pk>/steer",
    ):
        assert any(route.endswith(end) for route in changing), end
