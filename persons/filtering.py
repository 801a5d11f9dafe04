"""What the history is filtered by, as an address says it: for pages, exports and REST alike.

What means nothing, or nothing that is there for whoever asks, is left out.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from persons.access import Asker, galleries_seen_by, records_hidden_from
from persons.models import ApiKey, Call, Gallery, Person, Source, Space, Team, User
from persons.models.calls import Outcome
from persons.models.names import tagged
from persons.searching import Filters, called, with_merged
from persons.vision.types import Method

MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)
LONGEST = 100

FILTERS = {
    "from": "A day or a minute, as 2026-03-01 or 2026-03-01T12:30.",
    "to": "The last day or minute.",
    "person": "Whom it is about or who was found: 5.12 is person12 of space 5.",
    "outcome": "One of the outcomes.",
    "space": "Its number.",
    "q": "Beginning of a word of a name that was found.",
    "method": "set, recognize, delete or truncate.",
    "source": "page, worker, client or command.",
    "actor": "Who asked, by number.",
    "key": "Which API key asked, by number.",
    "low": "A face that is at least so similar, 0 to 1.",
    "high": "And at most so similar.",
    "gallery": "Its address.",
    "address": "The IP address that it came from.",
    "request": "All that one request caused.",
}
"""The parameters, in the order of the page."""

NAMES = tuple(FILTERS)

_PERSON = re.compile(r"(?:.*\()?([0-9])\.([0-9]{1,18})\)?")


def filters_of(asked: Mapping[str, str], user: Asker, team: Team) -> tuple[Filters, dict[str, str]]:
    """The filters, and the parameters that say them."""
    given = {name: asked.get(name, "").replace("\0", "").strip()[:LONGEST] for name in NAMES}
    since, until = moment(given["from"]), moment(given["to"], end=True)
    spaces = {space.number: space for space in Space.objects.filter(team=team)}
    person = _person(given["person"], spaces)
    people = with_merged([person.pk]) if person else None
    # A name that was typed instead of chosen is looked for as a text.
    text = given["q"] or ("" if person else given["person"])
    if text:
        named = called([space.pk for space in spaces.values()], text)
        people = named if people is None else people & named
    number = given["space"]
    filters = Filters(
        since=since,
        until=until,
        actor=_actor(given["actor"], team),
        key=_row(ApiKey, given["key"], team),
        method=_one_of(given["method"], [str(method) for method in Method]),
        source=_one_of(given["source"], Source.values),
        outcome=_one_of(given["outcome"], Outcome.values),
        address=_address(given["address"]),
        space=spaces.get(int(number)) if re.fullmatch(r"[0-9]", number) else None,
        gallery=_gallery(given["gallery"], user, team),
        request=given["request"] if re.fullmatch(r"[\w-]{1,36}", given["request"]) else "",
        person=person,
        text=text,
        low=_share(given["low"]),
        high=_share(given["high"]),
        people=people,
    )
    return filters, chosen(filters, given)


def chosen(filters: Filters, given: Mapping[str, str]) -> dict[str, str]:
    """The parameters that these filters are said by."""
    known = {
        "from": filters.since is not None and given["from"],
        "to": filters.until is not None and given["to"],
        "person": filters.person is not None
        and f"{filters.person.space.number}.{filters.person.person_id}",
        "outcome": filters.outcome,
        "space": filters.space is not None and str(filters.space.number),
        "q": filters.text,
        "method": filters.method,
        "source": filters.source,
        "actor": filters.actor is not None and str(filters.actor.pk),
        "key": filters.key is not None and str(filters.key.pk),
        "low": filters.low is not None and given["low"],
        "high": filters.high is not None and given["high"],
        "gallery": filters.gallery is not None and filters.gallery.slug,
        "address": filters.address,
        "request": filters.request,
    }
    return {name: value for name, value in known.items() if value}


def moment(text: str, *, end: bool = False) -> datetime | None:
    """A day or a minute, its last instant with `end`."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            day = date.fromisoformat(text)
            found = datetime.combine(day, time.max if end else time.min)
        else:
            parsed = parse_datetime(text)
            if parsed is None:
                return None
            found = parsed
            if end and found.second == found.microsecond == 0:
                found += MINUTE - INSTANT
        # The ends of the calendar can't be moved to another time zone.
        if not 1900 <= found.year <= 9000:
            return None
        return timezone.make_aware(found) if timezone.is_naive(found) else found
    except (ValueError, OverflowError):
        return None


def _one_of(text: str, values: list[str]) -> str:
    return text if text in values else ""


def _row(model: type[ApiKey], text: str, team: Team) -> ApiKey | None:
    pk = _number(text)
    return model.objects.filter(team=team, pk=pk).first() if pk is not None else None


def _actor(text: str, team: Team) -> User | None:
    """Whoever asked for something in this team, whether or not they are still a member."""
    pk = _number(text)
    if pk is None:
        return None
    user = User.objects.filter(pk=pk).first()
    if user is None or user.memberships.filter(team=team).exists():
        return user
    return user if Call.objects.filter(team=team, actor=user).exists() else None


def _gallery(text: str, user: Asker, team: Team) -> Gallery | None:
    """One that the reader sees; auditors, who read the whole record, may ask for any."""
    gallery = Gallery.objects.filter(team=team, slug=text).first() if text else None
    if gallery is None or galleries_seen_by(user, team).filter(pk=gallery.pk).exists():
        return gallery
    return None if gallery.pk in records_hidden_from(user, team) else gallery


def _person(text: str, spaces: Mapping[int, Space]) -> Person | None:
    """ "5.12", "Anna (5.12)": number 12 of space 5; "person12" where one space alone has it."""
    match = _PERSON.fullmatch(text)
    people = Person.objects.select_related("space")
    if match is not None:
        space = spaces.get(int(match[1]))
        return people.filter(space=space, person_id=int(match[2])).first() if space else None
    number = tagged(text)
    if number is None:
        return None
    found = list(people.filter(space__in=spaces.values(), person_id=number)[:2])
    return found[0] if len(found) == 1 else None


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _share(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= 1 else None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
