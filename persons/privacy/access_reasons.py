"""Reasons for looking up people, opening evidence and exporting records, if a team requires it."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from persons.errors import Refused
from persons.inputs import texts
from persons.models import Team

PURPOSES = {
    "person": "Looking a person up",
    "evidence": "Opening evidence and records of calls",
    "export": "Exporting records",
}
KEPT = timedelta(minutes=30)
"""How long a reason is valid for the same purpose and target."""

HEADER = "X-Rollcall-Reason"
LONGEST = 500


def demanded(team: Team, purpose: str) -> bool:
    return purpose in team.require_reasons


def clean(team: Team, choice: str, words: str) -> str:
    """The reason to store: a choice from the team's list, if it has one, and free text.

    Raises Refused if the choice is not in the list, or if there is neither list nor text.
    """
    choice, words = plain(choice), plain(words)
    if team.reason_choices:
        if choice not in team.reason_choices:
            raise Refused("Choose one of the reasons.")
        return f"{choice}: {words}"[:LONGEST] if words else choice
    if not words:
        raise Refused("Say why, in a few words.")
    return words


def of_program(team: Team, purpose: str, header: str | None) -> str:
    """The reason in a program's header, "" if there is none.

    If the team requires a reason and has a list, the header must hold one of the list, alone or
    followed by a colon and free text. Raises Refused otherwise. A missing reason is not refused
    here.
    """
    reason = of_header(header)
    if reason and team.reason_choices and demanded(team, purpose):
        choice = next((one for one in team.reason_choices if _begins(reason, one)), None)
        if choice is None:
            raise Refused(f"“{reason}” is none of: {'; '.join(team.reason_choices)}.")
    return reason


def _begins(text: str, choice: str) -> bool:
    return text == choice or text.startswith(f"{choice}: ")


def of_header(value: str | None) -> str:
    """The text of an `X-Rollcall-Reason` header: UTF-8, which arrives decoded as Latin-1."""
    text = value or ""
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    return plain(text)


def plain(text: str) -> str:
    """The text on one line, without invisible characters, at most LONGEST characters."""
    return texts.line(texts.line(text)[:LONGEST])
