"""A key in a request is looked up only among rows that the asker may see.

Every parameter of every address gives the same answer for a key of another team, for a key of a
closed gallery and for an unknown key. `PARAMETERS` lists the parameters, and is compared with what
the code reads.
"""

from __future__ import annotations

import ast
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from django.http import QueryDict
from django.test import Client

from persons.inputs.params import Parameters
from persons.models import Gallery, Role, Space, Team, User
from tests.support.access_table import TABLE, World, routes
from tests.support.everything import Keys, ask, fill, nothing, number_from, plain
from tests.support.factories import GalleryFactory, MembershipFactory, PhotoFactory

# What is asked of the database here is asked by the pages' own tests as well.
pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

SignIn = Callable[[User], Client]
ROOT = Path(__file__).resolve().parents[2]

PARTS = 8
"""Addresses are asked in so many tests, which may run side by side."""

# --- What there is ---

Kinds = dict[str, str]

PARAMETERS: dict[str, Kinds] = {
    "dashboard.pages.account.account": {"username": ""},
    "dashboard.pages.audit.filters": {
        "actor": "user",
        **dict.fromkeys(("address", "calls", "from", "q", "request", "to", "action", "kind"), ""),
    },
    "dashboard.pages.spaces.connection": {},
    "dashboard.pages.privacy.erasures": {"name": "", "photos": "", "reason": ""},
    "dashboard.pages.history.evidence": {"format": "", "pass": ""},
    "dashboard.pages.photos.faces": {
        "label": "tag",
        "person": "person",
        **dict.fromkeys(("left", "top", "right", "bottom"), ""),
    },
    "dashboard.pages.galleries.filters": {
        "by": "user",
        "person": "person_id",
        **dict.fromkeys(("from", "show", "sort", "to"), ""),
    },
    "dashboard.pages.galleries.galleries": {"name": "", "space": ""},
    "dashboard.pages.galleries.grid": {
        "busy": "tile",
        "with": "name",
        "one": "place",
        "other": "place",
        **dict.fromkeys(("came", "day", "new", "photos"), ""),
    },
    "dashboard.pages.review.groups": {
        "before": "size",
        "group": "space.person",
        "of": "g:slug",
        "label": "tag",
        **dict.fromkeys(("do", "whole"), ""),
    },
    "dashboard.pages.review.groupings": {
        "of": "g:slug",
        **dict.fromkeys(("do", "threshold"), ""),
    },
    "dashboard.pages.history.history": {
        "person": "name",
        "chart": "",
        "before": "call",
        "after": "call",
    },
    "dashboard.pages.team.keys": {"scopes": "", "show": "key"},
    "dashboard.pages.photos.media": {"box": ""},
    "dashboard.pages.people.merging": {
        "keep": "person_id",
        "leave": "person_id",
        "with": "person_id",
        "label": "tag",
        "sure": "",
    },
    "dashboard.pages.people.names": {"but": "person", "label": "name"},
    "dashboard.pages.team.overview": {"busy": ""},
    "dashboard.pages.paging": {"before": "photo", "after": "photo"},
    "dashboard.pages.people.people": {
        "before": "",
        "after": "",
        "person": "person",
        "q": "name",
        **dict.fromkeys(("hidden", "show", "sort", "space"), ""),
    },
    "dashboard.pages.people.person": dict.fromkeys(
        ("hidden", "label", "notes", "seen", "view"), ""
    ),
    "dashboard.pages.people.person_changes": {"with": "person_id"},
    "dashboard.pages.people.bulk_face_actions": {"do": ""},
    "dashboard.pages.people.person_faces": {"face": "face", "sort": "", "which": ""},
    "dashboard.pages.people.person_report": {"part": ""},
    "dashboard.pages.people.person_rights": {"reason": ""},
    "dashboard.pages.photos.photos": {"seen": ""},
    "dashboard.pages.privacy.privacy": {
        "gallery": "slug",
        "preview": "",
        "reason": "",
        "trash_days": "",
    },
    "dashboard.pages.public.public": {"at": "place", "before": "place"},
    "dashboard.pages.public.downloads": {"part": ""},
    "dashboard.pages.public.visits": {"password": ""},
    "dashboard.pages.privacy.reasons": {
        "target": "finding",
        **dict.fromkeys(("choice", "format", "purpose", "words"), ""),
    },
    "dashboard.pages.review.bulk_review": {
        "before": "similarity",
        "done": "change",
        "face": "face",
        "yes": "face",
        "do": "",
    },
    "dashboard.pages.review.place": {
        "at": "0.face",
        "gallery": "slug",
        "kind": "",
        "order": "",
        "space": "",
    },
    "dashboard.pages.review.queue": {
        "behind": "0.face",
        "done": "c.change",
        "face": "face",
        "have": "f.face",
        "pair": "likeness",
        "queued": "queued",
        **dict.fromkeys(("alone", "do", "part"), ""),
    },
    "dashboard.pages.review.decisions": {
        "face": "face",
        "keep": "person",
        "label": "tag",
        "pair": "likeness",
        "shown": "person",
    },
    "dashboard.pages.galleries.selection": {"photo": "photo", "to": "slug", "back": ""},
    "dashboard.pages.galleries.share": {
        "user": "user",
        **dict.fromkeys(("days", "open", "password", "role", "title"), ""),
        **dict.fromkeys(("show_names", "show_details", "allow_download", "keep_place"), ""),
    },
    "dashboard.pages.shared": {"next": "", "turn": ""},
    "dashboard.pages.galleries.sheets": dict.fromkeys(
        ("at", "before", "after", "first", "last"), "place"
    ),
    "dashboard.pages.spaces.snapshots": {"file": "", "name": "", "to": "", "with_policy": ""},
    "dashboard.pages.spaces.spaces": {"jobs": "job", "view": ""},
    "dashboard.pages.team.members": {"choices": "", "email": "", "purpose": "", "role": ""},
    "dashboard.pages.galleries.trash": {
        "before": "trashed",
        "photo": "trashed",
        "gallery": "slug",
        **dict.fromkeys(("all", "at", "sure"), ""),
    },
    "dashboard.pages.galleries.uploads": {"files": "", "modified": "", "path": ""},
    "dashboard.pages.team.usage": {"month": ""},
    "persons.calls.filters": {
        "actor": "user",
        "key": "key",
        "person": "space.person",
        "gallery": "slug",
        "q": "name",
        **dict.fromkeys(("from", "to", "outcome", "space", "method", "source", "low", "high"), ""),
        **dict.fromkeys(("address", "request"), ""),
    },
    "persons.rest.pagination": {"cursor": "photo", "limit": ""},
    "persons.rest.views.galleries": {"file": ""},
}
"""By module, its parameters and what their values are keys of; "" for what names no row."""

READERS = {"GET", "POST", "FILES", "query_params"}
CARRIERS = {"data", "asked", "given", "form"}
"""Names that hold a request's parameters where they are read."""


def read_by(path: Path) -> set[str]:
    """The names of parameters that stand in a module, as far as they are written out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr=attr, value=holder), args=[key, *_]):
                if attr not in {"get", "getlist", *vars(Parameters)}:
                    continue
            case ast.Subscript(value=holder, slice=key):
                pass
            case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[holder]):
                pass
            case _:
                continue
        name = ast.unparse(holder).rpartition(".")[2]
        is_text = isinstance(key, ast.Constant) and isinstance(key.value, str)
        if is_text and name in READERS | CARRIERS:
            found.add(str(key.value))  # type: ignore[attr-defined]
    return found


def modules() -> Iterator[tuple[str, Path]]:
    folders = ("dashboard/pages", "persons/rest")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for path in [*paths, ROOT / "persons/calls/filters.py"]:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def test_every_parameter_that_the_code_reads_is_in_the_table() -> None:
    missing = {
        name: sorted(names)
        for name, path in modules()
        if (names := read_by(path) - PARAMETERS.get(name, {}).keys())
    }
    assert not missing
    assert set(PARAMETERS) <= {name for name, _ in modules()}


# --- Whom an address belongs to ---


@cache
def imports() -> dict[str, set[str]]:
    """By module, the others that it imports."""
    paths = dict(modules())
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        nodes = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module
        ]
        names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
        found[name] = (names | {str(node.module) for node in nodes}) & paths.keys()
    return found


def used_by(name: str, seen: set[str]) -> set[str]:
    """Modules of the table that a page's own uses, directly or not."""
    if name in seen or name not in imports():
        return set()
    seen.add(name)
    return ({name} & PARAMETERS.keys()).union(*(used_by(one, seen) for one in imports()[name]))


@cache
def parameters_of(module: str) -> frozenset[tuple[str, str]]:
    """(name, kind) of what an address of this module's view may be asked with."""
    used = used_by(module, set())
    return frozenset((key, kind) for one in used for key, kind in PARAMETERS[one].items() if kind)


def _key(values: list[Any]) -> str:
    """As `paging.key_of` writes it."""
    return urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


WRITTEN: dict[str, Callable[[Keys], str]] = {
    "tile": lambda keys: f"{keys['photo']}.done.1",
    "place": lambda keys: f"{keys['moment']}.{keys['photo']}",
    "size": lambda keys: _key([3, keys["person"]]),
    "similarity": lambda keys: _key([0.5, keys["face"]]),
    "space.person": lambda keys: f"0.{keys['person_id']}",
    "g:slug": lambda keys: f"g:{keys['slug']}",
    "0.face": lambda keys: f"0.{keys['face']}",
    "f.face": lambda keys: f"f{keys['face']}",
    "c.change": lambda keys: f"c{keys['change']}",
    "queued": lambda keys: f"face={keys['face']}&do=ignore",
    "tag": lambda keys: f"person{keys['person_id']}",
}


def value_of(kind: str, keys: Keys) -> str:
    """What a parameter of that kind says for these keys."""
    return WRITTEN[kind](keys) if kind in WRITTEN else str(keys[kind])


# --- The worlds ---


FILLED = {"form": "csv", "what": "thumb", "anything": "else", "token": "none", "shared": "none"}


@pytest.fixture
def own(team: Team, alice: User) -> Keys:
    """What the asker sees, which comes first: all other keys are above these."""
    gallery: Gallery = GalleryFactory.create(team=team, slug="open", name="Open day")
    Space.objects.update(next_person_id=1000)
    return fill(gallery, alice, person_id=1, prefix="open") | FILLED


def with_words(keys: Keys, name: str) -> Keys:
    return keys | {"name": name, "moment": 1_700_000_000_000_000}


@pytest.fixture
def foreign(own: Keys) -> Keys:
    """Of another team, whose owner has never been in this one."""
    number_from(700_000_000)
    owner: User = MembershipFactory.create(role=Role.OWNER, user__first_name="Zelda").user
    other = owner.memberships.get().team
    gallery: Gallery = GalleryFactory.create(team=other, slug="theirs", name="Theirs alone")
    keys = fill(gallery, owner, person_id=700_000_001, prefix="theirs")
    return with_words(keys | {"user": owner.pk}, "theirs Ann")


@pytest.fixture
def closed(team: Team, alice: User, own: Keys) -> Keys:
    """Of a closed gallery of the own team. Its people are the team's, and so is who is in it."""
    number_from(800_000_000)
    gallery: Gallery = GalleryFactory.create(
        team=team, slug="secret", name="Secret party", is_open=False
    )
    return fill(gallery, alice, person_id=800_000_001, prefix="closed")


def askers(bob: User, audrey: User) -> dict[str, Client]:
    found = {"editor": Client(), "auditor": Client()}
    found["editor"].force_login(bob)
    found["auditor"].force_login(audrey)
    return found


OF_THE_TEAM = {
    *("person", "person_id", "other", "group", "user", "key", "membership", "invitation"),
    *("space.person", "tag", "name", "likeness", "differ", "consent", "reference", "job"),
    *("snapshot", "link", "hold", "call", "size"),
}
"""Of a closed gallery these are there for the whole team, or an owner's alone."""

FORMS: dict[str, tuple[dict[str, str], ...]] = {
    "dashboard.pages.review.queue": tuple(
        {"do": do} for do in ("name", "confirm", "ignore", "undo", "back", "more", "same", "rest")
    ),
    "dashboard.pages.review.bulk_review": ({"do": "confirm"}, {"do": "reject"}),
    "dashboard.pages.review.groups": tuple(
        {"do": do, "label": "Ann"} for do in ("name", "out", "unknown", "ignore")
    ),
    "dashboard.pages.people.bulk_face_actions": tuple(
        {"do": do} for do in ("confirm", "ignore", "cover")
    ),
    "dashboard.pages.privacy.reasons": ({"purpose": "evidence", "words": "Case 12"},),
    "dashboard.pages.galleries.share": ({"role": "viewer"},),
}
"""What a form says beside its keys, so that they are looked up at all."""


@contextmanager
def names_read() -> Iterator[set[str]]:
    """Which parameters are looked at meanwhile."""
    read: set[str] = set()

    def noting(original: Any) -> Any:
        def noted(self: QueryDict, name: str, *args: Any) -> Any:
            read.add(name)
            return original(self, name, *args)

        return noted

    def noting_all(original: Any) -> Any:
        def noted(self: QueryDict, *args: Any) -> Any:
            read.update(self.keys())
            return original(self, *args)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        for way in ("get", "getlist", "__getitem__", "__contains__"):
            patch.setattr(QueryDict, way, noting(getattr(QueryDict, way)))
        for way in ("dict", "items", "lists", "urlencode"):
            patch.setattr(QueryDict, way, noting_all(getattr(QueryDict, way)))
        yield read


def ways(route: str, module: str, who: str) -> Iterator[tuple[str, dict[str, str]]]:
    """By which methods, with which forms, an address is asked."""
    rules = TABLE[route].rules
    if "get" in rules:
        yield "get", {}
    if "post" in rules and who != "auditor":
        for form in FORMS.get(module, ({},)):
            yield "post", form


@dataclass(frozen=True)
class Asked:
    client: Client
    method: str
    address: str
    form: dict[str, str]
    headers: dict[str, str]

    def reads(self, values: dict[str, str]) -> set[str]:
        """Which of all these parameters at once are looked at."""
        with names_read() as read:
            ask(self.client, self.method, self.address, self.form | values, headers=self.headers)
        return read

    def told(self, name: str, value: str) -> tuple[int, str]:
        data = self.form | {name: value}
        answer = ask(self.client, self.method, self.address, data, headers=self.headers)
        return answer.status, plain(answer.text, *echoes(value))

    def told_and_read(self, name: str, value: str) -> tuple[tuple[int, str], bool]:
        """What is told, and whether the parameter was looked at for it."""
        with names_read() as read:
            return self.told(name, value), name in read


def differences(
    who: str,
    client: Client,
    world: World,
    theirs: Keys,
    none: Keys,
    *,
    part: int,
    but: Collection[str] = (),
) -> list[str]:
    """Addresses that tell a key of somebody else's from one that doesn't exist."""
    wrong: list[str] = []
    count = 0
    for route, pattern in list(routes())[part::PARTS]:
        if not route.startswith(("t/", "rest/teams/<slug:team>")):
            continue
        module = getattr(pattern.callback, "view_class", pattern.callback).__module__
        for method, form in ways(route, module, who):
            # What a form did is told in toasts, which a fragment brings along.
            headers = {"HX-Request": "true"} if method == "post" else {}
            asked = Asked(client, method, world.address(route), form, headers)
            offered = {pair for pair in parameters_of(module) if pair[1] not in but}
            read = asked.reads({name: value_of(kind, none) for name, kind in offered})
            read |= PARAMETERS.get(module, {}).keys()
            for name, kind in sorted(offered):
                if name not in read:
                    continue
                one, other = value_of(kind, theirs), value_of(kind, none)
                told_none, is_read = asked.told_and_read(name, other)
                if not is_read:
                    continue
                count += 1
                told = asked.told(name, one)
                if told != told_none:
                    where = f"{who}: {method} {asked.address} {name}={one} {form}"
                    wrong.append(f"{where}: {first_difference(told, told_none)}")
    assert count > 5
    return wrong


def first_difference(one: tuple[int, str], other: tuple[int, str]) -> str:
    """In short, for whoever reads that the test failed."""
    if one[0] != other[0]:
        return f"{one[0]}, not {other[0]}"
    lines = zip(one[1].splitlines(), other[1].splitlines(), strict=False)
    return next(
        (f"{a.strip()[:300]!r}, not {b.strip()[:300]!r}" for a, b in lines if a != b), "length"
    )


def echoes(value: str) -> list[str]:
    """What an answer may say again of a parameter's value: all of it, and its numbers."""
    numbers = re.findall(r"[0-9]{4,}", value)
    tags = [f"person{number}" for number in numbers]
    return [value, quote_plus(value), *numbers, *tags]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_key_of_another_team_is_like_none(
    part: int, team: Team, own: Keys, foreign: Keys, bob: User, audrey: User
) -> None:
    world = World(team, {}, own)
    none = with_words(nothing(foreign), "nowhere Ann")
    wrong = [
        line
        for who, client in askers(bob, audrey).items()
        for line in differences(who, client, world, foreign, none, part=part)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_key_of_a_closed_gallery_is_like_none(
    part: int, team: Team, own: Keys, closed: Keys, bob: User, audrey: User
) -> None:
    world = World(team, {}, own)
    theirs = with_words(closed, "closed Ann")
    none = with_words(nothing(closed), "nowhere Ann")
    client = askers(bob, audrey)["editor"]
    wrong = differences("editor", client, world, theirs, none, part=part, but=OF_THE_TEAM)
    assert not wrong, "\n".join(wrong)


# --- Keys in the path ---


@pytest.mark.parametrize("whose", ["foreign", "closed"])
def test_a_key_in_the_path_is_like_none(
    whose: str, team: Team, own: Keys, bob: User, audrey: User, request: pytest.FixtureRequest
) -> None:
    theirs: Keys = request.getfixturevalue(whose)
    none = nothing(theirs)
    wrong = []
    for who, client in askers(bob, audrey).items():
        if whose == "closed" and who == "auditor":
            continue
        for route in sorted(TABLE):
            if not route.startswith(("t/", "rest/teams/<slug:team>")):
                continue
            for gap in gaps(route):
                if whose == "closed" and gap in OF_THE_TEAM:
                    continue
                wrong += _path_differences((who, client), team, route, own, gap, theirs, none)
    assert not wrong, "\n".join(wrong)


def gaps(route: str) -> set[str]:
    """The kinds of keys in a route but the team's."""
    found: set[str] = set()

    class Noted(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            found.add(name)
            return "0"

        def __or__(self, other: Any) -> Noted:  # type: ignore[override]
            return self

    class Blank:
        slug = "trip"

    World(Blank(), {}, Noted()).address(route)  # type: ignore[arg-type]
    return found - {"form", "team", "number", "position", "what", "anything"}


def _path_differences(
    asker: tuple[str, Client],
    team: Team,
    route: str,
    own: Keys,
    gap: str,
    theirs: Keys,
    none: Keys,
) -> list[str]:
    wrong = []
    who, client = asker
    for method in TABLE[route].rules:
        told = []
        for keys in (theirs, none):
            address = World(team, {}, own | {gap: keys[gap]}).address(route)
            answer = ask(client, method, address, {})
            told.append((answer.status, plain(answer.text, keys[gap], "person" + str(keys[gap]))))
        if told[0] != told[1]:
            wrong.append(f"{who}: {method} {route} by {gap}: {told[0][0]}, {told[1][0]}")
    return wrong


# --- What was found once ---


def test_who_has_an_account_elsewhere_is_not_named_by_a_filter(
    team: Team, own: Keys, foreign: Keys, bob: User, sign_in: SignIn
) -> None:
    page = sign_in(bob).get("/t/trip/g/open/", {"by": foreign["user"]}).text
    assert "Zelda" not in page


def test_who_left_is_named_by_what_they_uploaded_here(
    team: Team, own: Keys, bob: User, sign_in: SignIn
) -> None:
    gone: User = MembershipFactory.create(user__first_name="Yann").user
    PhotoFactory.create(gallery=Gallery.objects.get(slug="open"), uploaded_by=gone)
    assert "Yann" in sign_in(bob).get("/t/trip/g/open/", {"by": gone.pk}).text


def test_an_auditor_is_offered_no_names(
    team: Team, own: Keys, audrey: User, sign_in: SignIn
) -> None:
    client = sign_in(audrey)
    assert client.get("/t/trip/history/names", {"person": "open"}).status_code == 403
    page = client.get("/t/trip/history/", {"person": f"0.{own['person_id']}"}).text
    assert "open Ann" not in page and "person1" in page
