"""Parameters of addresses, forms and clients: one parser for each kind of value.

`Parameters` reads the parameters of one request. A missing or empty parameter is None or "". A
value that can't be understood is never ignored: `demand` raises NotUnderstood with a sentence for
each. Users get a page of status 400 or a toast; REST clients get JSON of status 422
(`persons.rest.errors`).

    given = Parameters(request.GET)
    query = GridQuery(since=given.day("from"), by=given.number("by"))
    given.demand()

`whole` and `pair` parse parts of keys that pages generated.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta

from django.core.exceptions import BadRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from persons.inputs import texts

LARGEST = 2**63 - 1
LONGEST = 100
MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)
SHOWN = 40
"""Characters of a wrong value that an error message repeats."""

_DIGITS = re.compile(r"[0-9]+")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FLAGS = {"yes": True, "1": True, "on": True, "no": False, "0": False}
_YEARS = range(1900, 9001)
"""Accepted years. Dates at the ends of the calendar can't be converted between time zones."""


class NotUnderstood(BadRequest):
    """Parameters can't be understood. `errors` maps each parameter to a sentence for the user."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


def whole(text: str, most: int = LARGEST) -> int | None:
    """The text as a whole number from 0 to `most`, leading zeros allowed, else None."""
    if not _DIGITS.fullmatch(text):
        return None
    digits = text.lstrip("0") or "0"
    # Length first: int() refuses thousands of digits and is slow for hundreds.
    if len(digits) > len(str(most)):
        return None
    number = int(digits)
    return number if number <= most else None


def pair(text: str, most: int = LARGEST) -> tuple[int, int] | None:
    """Both numbers of a text such as "12.345", each at most `most`, else None."""
    first, _, second = text.partition(".")
    one, other = whole(first, most), whole(second, most)
    return None if one is None or other is None else (one, other)


def day_of(text: str) -> date | None:
    """The date in a text of the form 2026-11-30, else None."""
    if not _DAY.fullmatch(text):
        return None
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if found.year in _YEARS else None


def moment_of(text: str, *, end: bool = False) -> datetime | None:
    """An aware datetime for a day or a time in ISO format, else None.

    It is the first instant of the day or minute, or the last with `end`. Without an offset, the
    text is in the site's time zone.
    """
    try:
        if _DAY.fullmatch(text):
            found = datetime.combine(date.fromisoformat(text), time.max if end else time.min)
        else:
            parsed = parse_datetime(text)
            if parsed is None:
                return None
            found = parsed
            if end and found.second == found.microsecond == 0:
                found += MINUTE - INSTANT
        if found.year not in _YEARS:
            return None
        return timezone.make_aware(found) if timezone.is_naive(found) else found
    except (ValueError, OverflowError):
        return None


def decimal_of(text: str, least: float, most: float) -> float | None:
    """A finite number from `least` to `most`, with a point or a comma, else None."""
    try:
        value = float(text.replace(",", ".", 1))
    except ValueError:
        return None
    return value if math.isfinite(value) and least <= value <= most else None


def address_of(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


class Parameters:
    """The parameters of one request. `errors` collects sentences about values not understood."""

    def __init__(self, data: Mapping[str, str]) -> None:
        self.data = data
        self.errors: dict[str, str] = {}

    def raw(self, name: str) -> str:
        """The parameter as one line without invisible characters. Too long a text is an error."""
        given = str(self.data.get(name) or "")[: 4 * LONGEST]
        text = texts.line(given)
        if len(text) > LONGEST:
            self.refuse(name, f"At most {LONGEST} characters.")
            return ""
        if not text and given.strip():
            self.refuse(name, "There is nothing in it that can be read.")
        return text

    def number(self, name: str, *, least: int = 0, most: int = LARGEST) -> int | None:
        text = self.raw(name)
        found = whole(text, most)
        if text and (found is None or found < least):
            span = f" from {least} to {most}" if most < LARGEST else ""
            self.refuse(name, f"“{shown(text)}” is no whole number{span}.")
            return None
        return found if text else None

    def numbers(self, name: str, *, most: int | None = None) -> list[int]:
        """All distinct numbers under the name. More than `most` of them are an error."""
        given = dict.fromkeys(_list_of(self.data, name))
        found = {text: whole(text) for text in given if text}
        wrong = [text for text, number in found.items() if number is None]
        if wrong:
            self.refuse(name, f"“{shown(wrong[0])}” is no whole number.")
        elif most is not None and len(found) > most:
            self.refuse(name, f"At most {most} of them.")
        return list(dict.fromkeys(number for number in found.values() if number is not None))[:most]

    def texts(self, name: str, *, most: int) -> list[str]:
        """All texts under the name, as they came. More than `most` of them are an error."""
        found = _list_of(self.data, name)
        if len(found) > most:
            self.refuse(name, f"At most {most} of them.")
            return []
        return found

    def choice(self, name: str, values: Collection[str], default: str = "") -> str:
        text = self.raw(name)
        if text and text not in values:
            allowed = ", ".join(value for value in values if value)
            self.refuse(name, f"“{shown(text)}” is none of {allowed}.")
            return default
        return text or default

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self.raw(name)
        if text and text not in _FLAGS:
            self.refuse(name, f"“{shown(text)}” is neither yes nor no.")
        return _FLAGS.get(text, default)

    def day(self, name: str) -> date | None:
        text = self.raw(name)
        found = day_of(text)
        if text and found is None:
            self.refuse(name, f"“{shown(text)}” is no day. Write it as 2026-11-30.")
        return found

    def moment(self, name: str, *, end: bool = False) -> datetime | None:
        text = self.raw(name)
        found = moment_of(text, end=end)
        if text and found is None:
            self.refuse(
                name,
                f"“{shown(text)}” is no day or minute. Write it as 2026-11-30 or 2026-11-30T12:30.",
            )
        return found

    def share(self, name: str) -> float | None:
        return self.decimal(name, least=0, most=1)

    def decimal(self, name: str, *, least: float, most: float) -> float | None:
        text = self.raw(name)
        found = decimal_of(text, least, most) if text else None
        if text and found is None:
            self.refuse(name, f"“{shown(text)}” is no number from {least:g} to {most:g}.")
        return found

    def keys(self, name: str, most: int) -> list[int]:
        """The distinct numbers of a text such as "12.345.6". More than `most` are an error."""
        text = str(self.data.get(name) or "")
        found = [whole(one) for one in text.split(".")] if text else []
        if None in found:
            self.refuse(name, f"“{shown(text)}” are no numbers with points between them.")
        elif len(found) > most:
            self.refuse(name, f"At most {most} of them.")
        else:
            return list(dict.fromkeys(number for number in found if number is not None))
        return []

    def address(self, name: str) -> str:
        text = self.raw(name)
        found = address_of(text)
        if text and found is None:
            self.refuse(name, f"“{shown(text)}” is no IP address.")
        return found or ""

    def matching(self, name: str, pattern: str, what: str) -> str:
        text = self.raw(name)
        if text and not re.fullmatch(pattern, text):
            self.refuse(name, f"“{shown(text)}” is no {what}.")
            return ""
        return text

    def known(self, names: Iterable[str], beside: Collection[str] = ()) -> None:
        """Refuse parameters with other names: a typo in a filter's name would select everything.

        Names in `beside` are allowed too, but the error message doesn't list them.
        """
        allowed = list(names)
        for name in self.data:
            if name not in allowed and name not in beside:
                self.refuse(shown(name), f"There is no such filter, only {', '.join(allowed)}.")

    def refuse(self, name: str, text: str) -> None:
        self.errors.setdefault(name, text)

    def demand(self) -> None:
        """Raises NotUnderstood if any parameter was not understood."""
        if self.errors:
            raise NotUnderstood(self.errors)


def shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _list_of(data: Mapping[str, str], name: str) -> list[str]:
    several = getattr(data, "getlist", None)
    return list(several(name)) if several else [data[name]] if name in data else []
