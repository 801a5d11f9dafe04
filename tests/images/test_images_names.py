"""File names as users see them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persons.images import clean_name


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("IMG_0001.JPG", "IMG_0001.JPG"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\Ann\\фото 1.jpg", "фото 1.jpg"),
        ("/tmp/a\\b/c.png", "c.png"),
        ("folder/", "folder"),
        ("a/..", "a"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("\u200e\u200f\u061c\u2066a\u2069.jpg", "a.jpg"),
        ("a\0b\x1b[31m.jpg", "ab[31m.jpg"),
        ("two\r\nlines.jpg", "two lines.jpg"),
        ("half a pair \ud83d.jpg", "half a pair.jpg"),
        ("", "photo"),
        ("   ", "photo"),
        ("...", "photo"),
        ("/", "photo"),
        ("\u202e\u200f", "photo"),
        (".jpg", "photo.jpg"),
        ("trailing. . ", "trailing"),
        ("e\u0301te\u0301.jpg", "\u00e9t\u00e9.jpg"),
        ("👩\u200d👧.heic", "👩\u200d👧.heic"),
    ],
)
def test_a_name_is_made_safe_to_show(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


def test_a_name_of_300_characters_is_cut_and_keeps_its_extension() -> None:
    name = clean_name("x" * 300 + ".jpeg")
    assert name == "x" * 195 + ".jpeg"


def test_what_follows_the_last_dot_of_a_sentence_is_no_extension() -> None:
    assert clean_name("a." + "y" * 300) == "a." + "y" * 198


@given(st.text(max_size=400) | st.text(alphabet="./\\ a\u202e\u0301\0e\u200b", max_size=260))
def test_any_name_becomes_short_printable_and_stable(raw: str) -> None:
    name = clean_name(raw)
    assert 1 <= len(name) <= 200
    assert not set(name) & set("/\\\0\u202e\u2066\u200f\n")
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    assert name.strip(".").strip()
    assert clean_name(name) == name
