"""What a snapshot says of a space: its policy, its people, and who is enrolled by which picture.

`manifest.json` may come from anywhere: it is parsed once, here, and what is not exactly as
`as_json` writes it is refused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from persons.vision.limits import FACES_PER_SPACE
from persons.vision.meta import PERSON_ID_MAX

FORMAT = "rollcall-space"
VERSION = 1
LINE_LENGTH = 200

POLICY: Mapping[str, type] = {
    "threshold": float,
    "confirm_threshold": float,
    "update_embedding": bool,
    "create_new": bool,
    "show_attributes": bool,
    "searcher": int,
}

_DIGEST = re.compile(r"[0-9a-f]{64}")


class SnapshotError(Exception):
    """The file can't be used; the text tells a user why."""


@dataclass(frozen=True, slots=True)
class SavedPerson:
    """`merged_into` is the id of whom this person turned out to be."""

    id: int
    label: str
    hidden: bool = False
    notes: str = ""
    merged_into: int | None = None


@dataclass(frozen=True, slots=True)
class SavedPicture:
    """One enrolment. `origin` is the id of the merged person whose picture it was."""

    sha256: str
    person: int
    at: datetime
    by: str = ""
    origin: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`key` tells the space that it was taken from again, and nobody which one that is."""

    key: str
    team: str
    number: int
    name: str
    made_at: datetime
    made_by: str
    policy: Mapping[str, Any]
    people: tuple[SavedPerson, ...]
    pictures: tuple[SavedPicture, ...]

    @property
    def digests(self) -> dict[str, None]:
        """Of the pictures, each once, in order."""
        return dict.fromkeys(picture.sha256 for picture in self.pictures)


@lru_cache(maxsize=1024)
def line(text: str) -> str:
    """As names are kept: one line, normalised, with nothing invisible in it, and not too long."""
    if text.isascii() and text.isprintable() and "  " not in text and len(text) <= LINE_LENGTH:
        return text.strip()
    shown = "".join(
        letter for letter in text if letter.isspace() or unicodedata.category(letter)[0] != "C"
    )
    return " ".join(unicodedata.normalize("NFC", shown).split())[:LINE_LENGTH].strip()


def as_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_at": manifest.made_at.isoformat(),
        "made_by": manifest.made_by,
        "space": {
            "key": manifest.key,
            "team": manifest.team,
            "number": manifest.number,
            "name": manifest.name,
        },
        "policy": dict(manifest.policy),
        "people": [
            {
                "id": person.id,
                "label": person.label,
                "hidden": person.hidden,
                "notes": person.notes,
                "merged_into": person.merged_into,
            }
            for person in manifest.people
        ],
        "enrolments": [
            {
                "sha256": picture.sha256,
                "person": picture.person,
                "at": picture.at.isoformat(),
                "by": picture.by,
                "origin": picture.origin,
            }
            for picture in manifest.pictures
        ],
    }


def parse(text: bytes) -> Manifest:
    try:
        told = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        _bad("it is no JSON")
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise SnapshotError("This is no snapshot of a space.")
    version = told.get("version")
    if type(version) is not int or version != VERSION:
        raise SnapshotError(
            f"It is of version {str(version)[:20]}; this Rollcall reads version {VERSION}."
        )
    space = _field(told, "space", dict)
    people = tuple(_person(entry) for entry in _list(told, "people"))
    pictures = tuple(_picture(entry) for entry in _list(told, "enrolments"))
    _check_people(people)
    _check_pictures(pictures, {person.id for person in people})
    return Manifest(
        key=_line(space, "key"),
        team=_line(space, "team"),
        number=_field(space, "number", int),
        name=_line(space, "name"),
        made_at=_moment(told, "made_at"),
        made_by=_line(told, "made_by"),
        policy=_policy(_field(told, "policy", dict)),
        people=people,
        pictures=pictures,
    )


def _policy(told: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: _field(told, name, kind) for name, kind in POLICY.items()}
    suggest, confirm = found["threshold"], found["confirm_threshold"]
    if not 0 <= suggest <= confirm <= 1 or found["searcher"] not in (0, 1):
        _bad("its policy is none that a space can have")
    return found


def _person(told: object) -> SavedPerson:
    if not isinstance(told, dict):
        _bad("a person is no object")
    into = told.get("merged_into")
    return SavedPerson(
        id=_person_id(told.get("id")),
        label=_line(told, "label"),
        hidden=_field(told, "hidden", bool),
        notes=_text(told, "notes"),
        merged_into=None if into is None else _person_id(into),
    )


def _picture(told: object) -> SavedPicture:
    if not isinstance(told, dict):
        _bad("an enrolment is no object")
    digest, origin = _field(told, "sha256", str), told.get("origin")
    if not _DIGEST.fullmatch(digest):
        _bad("an enrolment has no SHA-256")
    return SavedPicture(
        sha256=digest,
        person=_person_id(told.get("person")),
        at=_moment(told, "at"),
        by=_line(told, "by"),
        origin=None if origin is None else _person_id(origin),
    )


def _check_people(people: tuple[SavedPerson, ...]) -> None:
    if len(people) > 2 * FACES_PER_SPACE:
        _bad(f"it has {len(people)} people")
    into = {person.id: person.merged_into for person in people}
    if len(into) < len(people):
        _bad("two people have the same id")
    names = [person.label.lower() for person in people if person.label and not person.merged_into]
    if len(set(names)) < len(names):
        _bad("two people have the same name")
    sound: set[int] = set()
    for person in people:
        way: set[int] = set()
        at: int | None = person.id
        while at is not None and at not in sound:
            if at in way or at not in into:
                _bad(f"person{person.id} is merged into nobody")
            way.add(at)
            at = into[at]
        sound |= way


def _check_pictures(pictures: tuple[SavedPicture, ...], people: set[int]) -> None:
    if len(pictures) > FACES_PER_SPACE:
        _bad(f"it has {len(pictures)} enrolments, more than a space has room for")
    if len({(picture.person, picture.sha256) for picture in pictures}) < len(pictures):
        _bad("a picture is enrolled twice for the same person")
    for picture in pictures:
        if picture.person not in people:
            _bad(f"a picture is of person{picture.person}, who is not in it")


def _list(told: Mapping[str, Any], name: str) -> list[Any]:
    found: list[Any] = _field(told, name, list)
    return found


def _field(told: Mapping[str, Any], name: str, kind: type) -> Any:
    value = told.get(name)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2 else None
    if type(value) is not kind:
        _bad(f"“{name}” is not as it should be")
    return value


def _person_id(value: object) -> int:
    if type(value) is not int or not 0 < value <= PERSON_ID_MAX:
        _bad("a person's id is no number that Vision takes")
    return value


def _line(told: Mapping[str, Any], name: str) -> str:
    text: str = _field(told, name, str)
    if text != line(text):
        _bad(f"a “{name}” is not written as Rollcall writes it")
    return text


def _text(told: Mapping[str, Any], name: str) -> str:
    text: str = _field(told, name, str)
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        _bad(f"a “{name}” is no valid text")
    return text


def _moment(told: Mapping[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_field(told, name, str)[:40])
    except ValueError:
        _bad(f"“{name}” is no time")
    if moment.tzinfo is None or not 2000 <= moment.year < 9000:
        _bad(f"“{name}” is no time")
    return moment


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _bad(what: str) -> NoReturn:
    raise SnapshotError(f"Its manifest is damaged: {what}.")
