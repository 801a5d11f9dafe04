"""Settings from the environment are typed, and errors name the variable and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from dashboard.env import (
    env_bool,
    env_int,
    env_list,
    env_path,
    env_secret,
    env_str,
)

NAME = "ROLLCALL_TEST"


@pytest.mark.parametrize("word", ["1", "true", "Yes", "ON", " on "])
def test_words_for_yes(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(NAME, word)
    assert env_bool(NAME, False) is True


@pytest.mark.parametrize("word", ["0", "false", "No", "OFF", ""])
def test_words_for_no(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(NAME, word)
    assert env_bool(NAME, True) is False


def test_what_is_not_set_has_its_default(tmp_path: Path) -> None:
    assert env_bool(NAME, True) is True
    assert env_int(NAME, 7) == 7
    assert env_str(NAME, "here") == "here"
    assert env_list(NAME) == []
    assert env_path(NAME, tmp_path) == tmp_path
    assert env_secret(NAME) == ""


def test_an_unknown_word_for_yes_or_no_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "maybe")
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} must be 1 or 0"):
        env_bool(NAME, True)


@pytest.mark.parametrize("text", ["eight", "8.5", "0x8"])
def test_a_number_that_is_none_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(NAME, text)
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} must be a whole number"):
        env_int(NAME, 7)


def test_a_number_below_its_minimum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "0")
    assert env_int(NAME, 7) == 0
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} must be at least 1"):
        env_int(NAME, 7, minimum=1)


def test_lists_are_words_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, " a.example.org, ,b.example.org,")
    assert env_list(NAME) == ["a.example.org", "b.example.org"]


def test_a_secret_comes_from_the_file_if_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    monkeypatch.setenv(NAME, "from the environment")
    assert env_secret(NAME) == "from the environment"
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    assert env_secret(NAME) == "from the file"


def test_a_secrets_file_that_can_not_be_read_is_said_without_any_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(NAME, "hunter2")
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match=f"{NAME}_FILE can't be read") as caught:
        env_secret(NAME)
    assert "hunter2" not in str(caught.value)
