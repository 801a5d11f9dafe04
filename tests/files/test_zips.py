"""Zip files that are created while they are sent."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persons.files.zips import Entry, length_of, stream, unique_names

AT = datetime(2024, 5, 6, 7, 8, 10, tzinfo=UTC)


def made(*files: tuple[str, bytes]) -> bytes:
    entries = [Entry(name, len(data), AT) for name, data in files]
    chunks = [[data] for _, data in files]
    return b"".join(stream(zip(entries, chunks, strict=True)))


def test_what_goes_in_comes_out() -> None:
    data = made(("a.jpg", b"one"), ("Привет, мир.jpg", b"two" * 1000), ("empty.jpg", b""))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.jpg", "Привет, мир.jpg", "empty.jpg"]
        assert archive.read("Привет, мир.jpg") == b"two" * 1000
        info = archive.getinfo("a.jpg")
        assert info.compress_type == zipfile.ZIP_STORED
        assert info.date_time == (2024, 5, 6, 7, 8, 10)


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_file_is_for_whom_its_entry_says(mode: int) -> None:
    data = b"".join(stream([(Entry("a.jpg", 1, AT, mode), [b"x"])]))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.getinfo("a.jpg").external_attr >> 16 == mode


@pytest.mark.parametrize("year", [1, 1979, 2108])
def test_a_date_that_a_zip_can_t_have_does_no_harm(year: int) -> None:
    entry = Entry("a.jpg", 1, datetime(year, 6, 1, tzinfo=UTC))
    data = b"".join(stream([(entry, [b"x"])]))
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None


@pytest.mark.parametrize(
    ("limit", "most_files"),
    [(2**31 - 1, 65535), (50, 65535), (400, 65535), (2**31 - 1, 2), (10, 1)],
)
def test_its_length_is_known_beforehand_also_where_it_is_a_large_one(
    limit: int, most_files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limits lowered, small files make the archives that else take 4 GB."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", most_files)
    files = [("a.jpg", b"x" * 45), ("ü.jpg", b"y" * 300), ("c", b""), ("d", b"z" * 49)]
    data = made(*files)
    assert len(data) == length_of([Entry(name, len(one), AT) for name, one in files])
    monkeypatch.undo()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == dict(files)


def test_more_than_65_535_files() -> None:
    count = 65_537
    entries = ((Entry(f"{n}.jpg", 1, AT), [b"x"]) for n in range(count))
    data = b"".join(stream(entries))
    assert len(data) == length_of(Entry(f"{n}.jpg", 1, AT) for n in range(count))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == count
        assert archive.read("65536.jpg") == b"x"


def test_memory_stays_small_for_a_large_file() -> None:
    size, chunk = 64_000_000, b"\0" * 250_000

    def chunks() -> Iterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    tracemalloc.start()
    try:
        sent = sum(len(part) for part in stream([(Entry("a", size, AT), chunks())]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent == length_of([Entry("a", size, AT)])
    assert peak < 3_000_000


def test_nobody_who_listens_no_more_is_written_to() -> None:
    closed = []

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.append(True)

    chunks_of_it = chunks()
    sent = stream([(Entry("a", 10**9, AT), chunks_of_it)])
    assert len(next(sent)) > 0
    sent.close()  # type: ignore[attr-defined]
    chunks_of_it.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_equal_names_are_told_apart() -> None:
    names = ["a.jpg", "A.JPG", "a.jpg", "a (2).jpg", "b.jpg", "a.jpg"]
    found = unique_names(names)
    assert found[:2] == ["a.jpg", "A (2).JPG"]
    assert len({name.casefold() for name in found}) == len(names)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.jpg", "a.jpg"),
        ('a:b*c?"<>|.jpg', "a_b_c_____.jpg"),
        ("con.jpg", "_con.jpg"),
        ("LPT1", "_LPT1"),
        ("con.tar.gz", "_con.tar.gz"),
        ("COM\u00b9.jpg", "_COM\u00b9.jpg"),
        ("...", "photo"),
        ("ع\u200cر.jpg", "ع\u200cر.jpg"),
        ("я" * 190 + ".jpeg", "я" * 125 + ".jpeg"),
        ("", "photo"),
    ],
)
def test_a_name_is_safe_on_every_system(name: str, safe: str) -> None:
    assert unique_names([name]) == [safe]


@given(st.lists(st.text(max_size=30), max_size=30))
def test_names_stay_unique_and_below_their_folder_whatever_they_were(names: list[str]) -> None:
    found = unique_names(names)
    assert len(found) == len(names) == len({name.casefold() for name in found})
    assert not any(set(name) & set('/\\:*?"<>|\0') for name in found)
    assert not any(name in ("", ".", "..") for name in found)
    assert all(len(name.encode()) <= 255 for name in found)


def test_names_that_are_cut_stay_unique_keep_their_extension_and_are_unpacked(
    tmp_path: Path,
) -> None:
    names = [f"{'я' * 180}{end}.jpeg" for end in ("", "a", "b", "")] + [
        "\U0001f468\u200d" * 90 + ".png"
    ]
    found = unique_names(names)
    assert len(set(found)) == len(names)
    assert [name.rpartition(".")[2] for name in found] == ["jpeg"] * 4 + ["png"]
    assert all(200 < len(name.encode()) <= 255 for name in found)
    data = b"".join(stream((Entry(name, 1, AT), [b"x"]) for name in found))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(found)
