"""Snapshot files: what they contain, and which uploaded files are refused."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persons.pipeline.spaces.manifests import (
    VERSION,
    Manifest,
    SavedPerson,
    SavedPicture,
    SnapshotError,
    as_json,
    line,
)
from persons.pipeline.spaces.snapshots import SnapshotFile, opened

WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
POLICY = {
    "threshold": 0.4,
    "confirm_threshold": 0.5,
    "update_embedding": False,
    "create_new": False,
    "show_attributes": False,
    "searcher": 0,
}
DATA = [b"one picture", b"another picture", b"a third"]
DIGESTS = [hashlib.sha256(data).hexdigest() for data in DATA]
BYTES = dict(zip(DIGESTS, DATA, strict=True))


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "key": "f" * 64,
        "team": "trip",
        "number": 3,
        "name": "Door",
        "made_at": WHEN,
        "made_by": "Alice",
        "policy": POLICY,
        "people": (
            SavedPerson(7, "Анна", notes="tall\nand fair"),
            SavedPerson(9, "", hidden=True),
            SavedPerson(12, "Anna K.", merged_into=7),
        ),
        "pictures": (
            SavedPicture(DIGESTS[0], 7, WHEN, "alice"),
            SavedPicture(DIGESTS[1], 7, WHEN, "", origin=12),
            SavedPicture(DIGESTS[2], 9, WHEN),
            SavedPicture(DIGESTS[0], 9, WHEN),
        ),
    }
    return Manifest(**(values | changes))


def written(saved: Manifest, read: Callable[[str], bytes | None] = BYTES.get) -> bytes:
    return b"".join(SnapshotFile(saved, read).pieces())


def zipped(
    told: object, pictures: dict[str, bytes] | None = None, *, packed: bool = False
) -> bytes:
    """A file as somebody might make it by hand."""
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    ) as archive:
        text = told if isinstance(told, bytes) else json.dumps(told).encode()
        archive.writestr("manifest.json", text)
        parts = pictures if pictures is not None else _pictures()
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def _pictures() -> dict[str, bytes]:
    return {f"pictures/{digest}.jpg": data for digest, data in BYTES.items()}


def told(**changes: Any) -> dict[str, Any]:
    return as_json(manifest()) | changes


def read_all(data: bytes) -> Manifest:
    with opened(io.BytesIO(data)) as snapshot:
        snapshot.check(lambda count: None)
        return snapshot.manifest


def refusal(data: bytes) -> str:
    with pytest.raises(SnapshotError) as caught:
        read_all(data)
    return str(caught.value)


def test_what_is_written_is_read_back() -> None:
    data = written(manifest())
    with opened(io.BytesIO(data)) as snapshot:
        assert snapshot.manifest == manifest()
        assert [snapshot.picture(digest) for digest in DIGESTS] == DATA


def test_it_is_a_plain_zip_of_stored_parts() -> None:
    with zipfile.ZipFile(io.BytesIO(written(manifest()))) as archive:
        assert archive.testzip() is None
        names = [part.filename for part in archive.infolist()]
        assert names == [*(f"pictures/{digest}.jpg" for digest in DIGESTS), "manifest.json"]
        assert {part.compress_type for part in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("manifest.json"))["version"] == VERSION


def test_it_is_made_piece_by_piece() -> None:
    """A thousand pictures of 100 KB never are in memory together."""
    size = 100_000
    pictures = [n.to_bytes(4) * (size // 4) for n in range(400)]
    digests = [hashlib.sha256(data).hexdigest() for data in pictures]
    found = dict(zip(digests, range(400), strict=True))
    saved = manifest(
        people=(SavedPerson(1, "Anna"),),
        pictures=tuple(SavedPicture(digest, 1, WHEN) for digest in digests),
    )
    del pictures
    file = SnapshotFile(saved, lambda digest: found[digest].to_bytes(4) * (size // 4))
    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in file.pieces())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == file.size > 400 * size
    assert peak < 4_000_000


@pytest.mark.parametrize("lost", [None, b"other bytes"])
def test_a_picture_that_is_lost_is_left_out_and_counted(lost: bytes | None) -> None:
    file = SnapshotFile(manifest(), lambda digest: lost if digest == DIGESTS[0] else BYTES[digest])
    data = b"".join(file.pieces())
    assert file.missing == {DIGESTS[0]}
    assert [one.sha256 for one in read_all(data).pictures] == DIGESTS[1:]
    assert file.manifest == read_all(data)


def test_an_empty_space_has_a_snapshot_too() -> None:
    assert read_all(written(manifest(people=(), pictures=()))).people == ()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=260), st.text(max_size=80))
def test_any_name_and_note_is_written_so_that_it_can_be_read(name: str, notes: str) -> None:
    notes = "".join(c for c in notes if c != "\0" and not "\ud800" <= c <= "\udfff")
    people = (SavedPerson(1, line(name), notes=notes),)
    data = written(manifest(people=people, pictures=()))
    assert read_all(data).people == people
    assert line(line(name)) == line(name)


# --- What is damaged, or made to do harm ---


def test_a_file_cut_short_at_any_place_is_refused() -> None:
    data = written(manifest())
    for end in range(0, len(data), 37):
        refusal(data[:end])


def test_a_byte_changed_anywhere_is_noticed_or_does_not_matter() -> None:
    """Names and times of zip's own headers mean nothing; whatever does is compared."""
    data = written(manifest())
    for place in range(0, len(data), 3):
        changed = data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]
        try:
            found = read_all(changed)
        except SnapshotError:
            continue
        assert found == manifest()


def flipped_picture() -> bytes:
    data = written(manifest())
    return data.replace(DATA[1], b"anothez picture")


def wrong_digest() -> bytes:
    return zipped(told(), _pictures() | {f"pictures/{DIGESTS[0]}.jpg": b"somebody else"})


def bomb() -> bytes:
    return zipped(told(), {f"pictures/{DIGESTS[0]}.jpg": bytes(50_000_000)}, packed=True)


def lying_sizes() -> bytes:
    """Every part says that it is the same large stretch of the file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("manifest.json", json.dumps(told()))
        for name, data in _pictures().items():
            archive.writestr(name, data)
    made = bytearray(out.getvalue())
    at = made.find(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<II", made, at + 20, 10_000_000, 10_000_000)
        at = made.find(b"PK\x01\x02", at + 1)
    return bytes(made)


def endless_directory() -> bytes:
    """The end says that the list of parts has 60 MB."""
    body = bytes(60_000_000)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, len(body), 0, 0)
    return body + end


def too_many_parts() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(75_002):
            archive.writestr(f"{number:x}", b"")
    return out.getvalue()


def encrypted() -> bytes:
    marked = bytearray(zipped(told()))
    marked[marked.find(b"PK\x01\x02") + 8] |= 1
    return bytes(marked)


def twice() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("manifest.json", json.dumps(told()))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("manifest.json", json.dumps(told()))
    return out.getvalue()


def people(*entries: dict[str, Any]) -> bytes:
    plain = {"hidden": False, "notes": "", "merged_into": None}
    return zipped(told(people=[plain | entry for entry in entries], enrolments=[]), {})


def enrolments(**changes: Any) -> bytes:
    first, *rest = told()["enrolments"]
    return zipped(told(enrolments=[first | changes, *rest]))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "it is no zip"),
    "a text": (lambda: b"hello, this is no snapshot", "it is no zip"),
    "a picture": (lambda: b"\xff\xd8\xff\xe0" + bytes(1000), "it is no zip"),
    "a zip of something else": (
        lambda: zipped(told(), {"holiday.jpg": b"x"}),
        "named 'holiday.jpg', as nothing in a snapshot",
    ),
    "a name that is a path": (
        lambda: zipped(told(), {f"pictures/../../{DIGESTS[0]}.jpg": b"x"}),
        "as nothing in a snapshot",
    ),
    "an absolute name": (lambda: zipped(told(), {"/etc/passwd": b"x"}), "as nothing in a snapshot"),
    "a name in capitals": (
        lambda: zipped(told(), {f"pictures/{DIGESTS[0].upper()}.jpg": b"x"}),
        "as nothing in a snapshot",
    ),
    "a zip bomb": (bomb, "is packed"),
    "sizes beyond the file's": (lying_sizes, ""),
    "an endless list of parts": (endless_directory, "it is no zip"),
    "too many parts": (too_many_parts, "75002 parts, more than a space has room for"),
    "an encrypted part": (encrypted, "is encrypted"),
    "two manifests": (twice, "two parts of the same name"),
    "no manifest": (
        lambda: written(manifest()).replace(b"manifest.json", b"manifesto.jso"),
        "as nothing in a snapshot",
    ),
    "a flipped bit in a picture": (flipped_picture, f"The picture {DIGESTS[1][:12]}… is damaged."),
    "another picture under its name": (wrong_digest, "is damaged"),
    "a picture missing": (
        lambda: zipped(told(), dict(list(_pictures().items())[:2])),
        "1 picture is missing from it",
    ),
    "a picture too many": (
        lambda: zipped(told(), _pictures() | {f"pictures/{'0' * 64}.jpg": b"x"}),
        "1 picture is nobody's in it: 000000000000…",
    ),
    "a manifest that is no JSON": (lambda: zipped(b"{"), "it is no JSON"),
    "a manifest of letters": (lambda: zipped(b'"hello"'), "no snapshot of a space"),
    "a deep manifest": (lambda: zipped(b"[" * 100_000), "it is no JSON"),
    "a number of a million digits": (
        lambda: zipped(b'{"number": ' + b"9" * 9999 + b"}"),
        "it is no JSON",
    ),
    "infinity": (lambda: zipped(told(policy=POLICY | {"threshold": float("inf")})), "no JSON"),
    "another format": (lambda: zipped(told(format="tar")), "no snapshot of a space"),
    "a later version": (
        lambda: zipped(told(version=2)),
        "version 2; this Rollcall reads version 1",
    ),
    "no version": (lambda: zipped(told(version=None)), "version None"),
    "a version that is true": (lambda: zipped(told(version=True)), "version True"),
    "a policy that can't be": (
        lambda: zipped(told(policy=POLICY | {"threshold": 0.6, "confirm_threshold": 0.5})),
        "none that a space can have",
    ),
    "a policy without a searcher": (
        lambda: zipped(told(policy={k: v for k, v in POLICY.items() if k != "searcher"})),
        "“searcher” is not as it should be",
    ),
    "people who are no list": (lambda: zipped(told(people={})), "“people” is not as it should be"),
    "a person who is a number": (lambda: zipped(told(people=[7])), "a person is no object"),
    "an id twice": (
        lambda: people({"id": 7, "label": "Anna"}, {"id": 7, "label": "Berta"}),
        "two people have the same id",
    ),
    "a name twice": (
        lambda: people({"id": 7, "label": "Anna"}, {"id": 8, "label": "ANNA"}),
        "two people have the same name",
    ),
    "an id of nothing": (lambda: people({"id": 0, "label": "Anna"}), "no number that Vision takes"),
    "an id that is true": (lambda: people({"id": True, "label": "A"}), "no number that Vision"),
    "an id beyond all": (lambda: people({"id": 2**63, "label": "Anna"}), "no number that Vision"),
    "a name with a direction mark": (
        lambda: people({"id": 7, "label": "Ada\u202eadA"}),
        "“label” is not written as Rollcall writes it",
    ),
    "a name of 201 letters": (lambda: people({"id": 7, "label": "x" * 201}), "not written as"),
    "a note with a NUL": (
        lambda: people({"id": 7, "label": "A", "notes": "\0"}),
        "no valid text",
    ),
    "somebody merged into nobody": (
        lambda: people({"id": 7, "label": "Anna", "merged_into": 8}),
        "person7 is merged into nobody",
    ),
    "people merged in a circle": (
        lambda: people(
            {"id": 7, "label": "A", "merged_into": 8}, {"id": 8, "label": "B", "merged_into": 7}
        ),
        "merged into nobody",
    ),
    "a picture of a stranger": (lambda: enrolments(person=99), "person99, who is not in it"),
    "a picture twice": (lambda: enrolments(sha256=DIGESTS[1]), "enrolled twice"),
    "a digest that is a path": (lambda: enrolments(sha256="../../etc/passwd"), "no SHA-256"),
    "a time that is none": (lambda: enrolments(at="yesterday"), "“at” is no time"),
    "a time without a zone": (lambda: enrolments(at="2026-03-01T12:00:00"), "“at” is no time"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_damaged_or_hostile_is_refused_in_words(case: str) -> None:
    make, words = REFUSED[case]
    assert words in refusal(make())


def test_a_long_chain_of_merges_is_followed_quickly() -> None:
    """As is one that a hostile file makes as long as a space."""
    plain = {"hidden": False, "notes": "", "label": ""}
    chain = [plain | {"id": n, "merged_into": n - 1 if n > 1 else None} for n in range(1, 40_001)]
    for order in (chain, chain[::-1]):
        with opened(io.BytesIO(zipped(told(people=order, enrolments=[]), {}))) as snapshot:
            assert len(snapshot.manifest.people) == 40_000


@pytest.fixture(scope="module")
def full() -> bytes:
    """As many people and enrolments as a space holds; the pictures are a few bytes each."""
    data = [n.to_bytes(3) for n in range(75_000)]
    digests = [hashlib.sha256(one).hexdigest() for one in data]
    by_digest = dict(zip(digests, data, strict=True))
    return written(
        manifest(
            people=tuple(SavedPerson(n, f"Person {n}") for n in range(1, 75_001)),
            pictures=tuple(
                SavedPicture(digest, n, WHEN, "alice") for n, digest in enumerate(digests, 1)
            ),
        ),
        by_digest.get,
    )


@pytest.mark.thorough
def test_a_full_space_fits(full: bytes) -> None:
    assert len(read_all(full).pictures) == 75_000
