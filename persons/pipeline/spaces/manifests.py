"""The manifest of a snapshot: the space's policy, its people, and their enrolled pictures.

`manifest.json` may come from anywhere. It is parsed once, here, and refused unless it is exactly as
`as_json` writes it, or as earlier versions did.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from io import BytesIO
from typing import Any, NoReturn

from persons.inputs import texts
from persons.pipeline.spaces.manifest_entries import BadJSON, Document
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
    """A person of the snapshot. `merged_into` is the id of the person they were merged into."""

    id: int
    label: str
    hidden: bool = False
    notes: str = ""
    merged_into: int | None = None


@dataclass(frozen=True, slots=True)
class SavedPicture:
    """One enrolment. `origin` is the id of the merged person from whom the picture came."""

    sha256: str
    person: int
    at: datetime
    by: str = ""
    origin: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`key` identifies the space that it was taken from, without revealing which one that is."""

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
        """The pictures' digests in order, each once."""
        return dict.fromkeys(picture.sha256 for picture in self.pictures)


@lru_cache(maxsize=1024)
def line(text: str) -> str:
    """A name as Rollcall keeps it: one line, normalised, without invisible characters, at most
    LINE_LENGTH."""
    return texts.line(texts.line(text)[:LINE_LENGTH])


def _earlier_line(text: str) -> str:
    """A name as earlier versions wrote it."""
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
    return read(BytesIO(text).read)


def read(source: Callable[[int], bytes]) -> Manifest:
    """Parse a stream of bytes; long lists are never in memory as JSON. Raises SnapshotError."""
    document = Document(source)
    try:
        return _read(document)
    except BadJSON:
        _bad("it is no JSON")


def _read(document: Document) -> Manifest:
    if not document.is_object():
        document.value()
        raise SnapshotError("This is no snapshot of a space.")
    found: dict[str, Any] = {}
    people: list[SavedPerson] = []
    pictures: list[SavedPicture] = []
    for name in document.members():
        if name in found:
            _bad(f"it has two “{name[:40]}”")
        if name in ("people", "enrolments") and document.is_list():
            # The format comes first in a real file: check it before the lists.
            _check_format(found)
            found[name] = []
            for entry in document.entries():
                if name == "people":
                    people.append(_person(entry))
                    _check_count(people, 2 * FACES_PER_SPACE, "people")
                else:
                    pictures.append(_picture(entry))
                    _check_count(pictures, FACES_PER_SPACE, "enrolments")
        else:
            found[name] = document.value()
    _check_format(found)
    for name in ("people", "enrolments"):
        _field(found, name, list)
    _check_people(people)
    _check_pictures(pictures, {person.id for person in people})
    space = _field(found, "space", dict)
    return Manifest(
        key=_line(space, "key"),
        team=_line(space, "team"),
        number=_field(space, "number", int),
        name=_line(space, "name"),
        made_at=_moment(found, "made_at"),
        made_by=_line(found, "made_by"),
        policy=_policy(_field(found, "policy", dict)),
        people=tuple(people),
        pictures=tuple(pictures),
    )


def _check_format(fields: Mapping[str, Any]) -> None:
    if fields.get("format") != FORMAT:
        raise SnapshotError("This is no snapshot of a space.")
    version = fields.get("version")
    if type(version) is not int or version != VERSION:
        raise SnapshotError(
            f"It is of version {str(version)[:20]}; this Rollcall reads version {VERSION}."
        )


def _check_count(entries: Sequence[object], most: int, what: str) -> None:
    if len(entries) > most:
        _bad(f"it has more than {most} {what}, more than a space has room for")


def _policy(fields: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: _field(fields, name, kind) for name, kind in POLICY.items()}
    suggest, confirm = found["threshold"], found["confirm_threshold"]
    if not 0 <= suggest <= confirm <= 1 or found["searcher"] not in (0, 1):
        _bad("its policy is none that a space can have")
    return found


def _person(fields: object) -> SavedPerson:
    if not isinstance(fields, dict):
        _bad("a person is no object")
    into = fields.get("merged_into")
    return SavedPerson(
        id=_person_id(fields.get("id")),
        label=_line(fields, "label"),
        hidden=_field(fields, "hidden", bool),
        notes=_text(fields, "notes"),
        merged_into=None if into is None else _person_id(into),
    )


def _picture(fields: object) -> SavedPicture:
    if not isinstance(fields, dict):
        _bad("an enrolment is no object")
    digest, origin = _field(fields, "sha256", str), fields.get("origin")
    if not _DIGEST.fullmatch(digest):
        _bad("an enrolment has no SHA-256")
    return SavedPicture(
        sha256=digest,
        person=_person_id(fields.get("person")),
        at=_moment(fields, "at"),
        by=_line(fields, "by"),
        origin=None if origin is None else _person_id(origin),
    )


def _check_people(people: Sequence[SavedPerson]) -> None:
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


def _check_pictures(pictures: Sequence[SavedPicture], people: set[int]) -> None:
    if len({(picture.person, picture.sha256) for picture in pictures}) < len(pictures):
        _bad("a picture is enrolled twice for the same person")
    for picture in pictures:
        if picture.person not in people:
            _bad(f"a picture is of person{picture.person}, who is not in it")


def _field(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2 else None
    if type(value) is not kind:
        _bad(f"“{name}” is not as it should be")
    return value


def _person_id(value: object) -> int:
    if type(value) is not int or not 0 < value <= PERSON_ID_MAX:
        _bad("a person's id is no number that Vision takes")
    return value


def _line(fields: Mapping[str, Any], name: str) -> str:
    text: str = _field(fields, name, str)
    plain = line(text)
    if text != plain and text != _earlier_line(text):
        _bad(f"a “{name}” is not written as Rollcall writes it")
    return plain


def _text(fields: Mapping[str, Any], name: str) -> str:
    text: str = _field(fields, name, str)
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        _bad(f"a “{name}” is no valid text")
    return text


def _moment(fields: Mapping[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_field(fields, name, str)[:40])
    except ValueError:
        _bad(f"“{name}” is no time")
    if moment.tzinfo is None or not 2000 <= moment.year < 9000:
        _bad(f"“{name}” is no time")
    return moment


def _bad(what: str) -> NoReturn:
    raise SnapshotError(f"Its manifest is damaged: {what}.")
