"""What the pages of records share."""

from __future__ import annotations

from django import template

from persons.audit_words import WORDS

register = template.Library()


@register.filter
def duration(milliseconds: int | None) -> str:
    """ "480 ms", "3.2 s", "2 min 5 s"; nothing for what has not ended."""
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
    """What an entry of the audit says was done: "Recorded a consent of"."""
    return WORDS.get(action, action.replace(".", ": ").replace("_", " "))


@register.filter
def lower_first(text: str) -> str:
    """For words that go on with a sentence."""
    return text[:1].lower() + text[1:]
