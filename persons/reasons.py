"""Why somebody looks a person up, opens evidence or exports records, where a team wants to know."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from persons.errors import Refused
from persons.models import Team

PURPOSES = {
    "person": "Looking a person up",
    "evidence": "Opening evidence",
    "export": "Exporting records",
}
KEPT = timedelta(minutes=30)
"""How long a reason holds for the same purpose and target."""

HEADER = "X-Rollcall-Reason"
LONGEST = 500


def demanded(team: Team, purpose: str) -> bool:
    return purpose in team.require_reasons


def clean(team: Team, choice: str, words: str) -> str:
    """What is kept of a reason: one of the team's where it has a list, and words of one's own.

    Raises Refused.
    """
    choice, words = plain(choice), plain(words)
    if team.reason_choices:
        if choice not in team.reason_choices:
            raise Refused("Choose one of the reasons.")
        return f"{choice}: {words}"[:LONGEST] if words else choice
    if not words:
        raise Refused("Say why, in a few words.")
    return words


def of_header(value: str | None) -> str:
    """What a program says in `X-Rollcall-Reason`: UTF-8, though HTTP reads it as Latin-1."""
    text = value or ""
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    return plain(text)


def plain(text: str) -> str:
    """In one line, without what can't be printed."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:LONGEST]
