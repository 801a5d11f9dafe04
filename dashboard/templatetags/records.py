"""Filters for the pages of records and the audit: durations, action words, audit marks."""

from __future__ import annotations

from collections.abc import Mapping

from django import template
from django.utils.html import format_html

from persons.audit.words import WORDS
from persons.models import Person

register = template.Library()


@register.filter
def duration(milliseconds: int | None) -> str:
    """A duration such as "480 ms", "3.2 s" or "2 min 5 s"; "" for None, which hasn't ended."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


@register.filter
def action_words(action: str) -> str:
    """An audit action in words, such as "Recorded a consent of"."""
    return WORDS.get(action, action.replace(".", ": ").replace("_", " "))


@register.filter
def lower_first(text: str) -> str:
    """The text with a lower-case first letter, for use within a sentence."""
    return text[:1].lower() + text[1:]


@register.filter
def mark(state: str) -> str:
    """The mark behind a fact: "" for "whole", † for "unknown", else a warning.

    "whole" means that the audit vouches for the fact.
    """
    match state:
        case "whole":
            return ""
        case "unknown":
            text = "Not vouched for by the audit"
            return format_html('<abbr class="unvouched" title="{}">†</abbr>', text)
    return format_html(' <b class="error">{}</b>', "(not as the audit says)")


@register.filter
def state_of(names: Mapping[int, str], person: Person) -> str:
    """The audit state of a person's name on an evidence card; "unknown" if it isn't listed."""
    return names.get(person.pk, "unknown")
