"""Parses the history's filters from query parameters, for pages, exports and REST.

A value that can't be parsed or found is an error: ignoring the filter would return everything.
Objects closed to the reader give the same error as missing ones, so errors don't reveal them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from persons.access import Asker, galleries_seen_by, records_hidden_from
from persons.calls.search import Filters, called, with_merged
from persons.inputs.params import NotUnderstood, Parameters, shown, whole
from persons.models import ApiKey, Call, Gallery, Person, Source, Space, Team, User
from persons.models.calls import Outcome
from persons.models.names import looks_like_tag, tagged
from persons.vision.types import Method

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

BESIDE = ("before", "after", "chart", "format")
"""Parameters of the pages and of the export that are no filters."""

_PERSON = re.compile(r"(?:.*\()?([0-9])\.([0-9]+)\)?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`chosen` holds the filters' parameters, `errors` a sentence for each invalid one. Don't
    search if there are errors."""

    filters: Filters
    chosen: dict[str, str]
    errors: dict[str, str]


def filters_of(
    asked: Mapping[str, str], user: Asker, team: Team, beside: Collection[str] = BESIDE
) -> tuple[Filters, dict[str, str]]:
    """The filters and their parameters. Raises NotUnderstood for invalid values and for unknown
    parameters; `beside` are other parameters that are allowed."""
    wanted = wanted_of(asked, user, team, beside)
    if wanted.errors:
        raise NotUnderstood(wanted.errors)
    return wanted.filters, wanted.chosen


def wanted_of(
    asked: Mapping[str, str], user: Asker, team: Team, beside: Collection[str] = BESIDE
) -> Wanted:
    """Parse for a page, which collects the errors and shows its form again."""
    given = Parameters(asked)
    given.known(NAMES, beside)
    spaces = {space.number: space for space in Space.objects.filter(team=team)}
    typed = given.raw("person")
    person = _person(given, spaces)
    people = with_merged([person.pk]) if person else None
    # A name that was typed rather than chosen is searched as text.
    by_name = "" if person or "person" in given.errors else typed
    text = given.raw("q") or by_name
    if text:
        named = called([space.pk for space in spaces.values()], text)
        people = named if people is None else people & named
    number = given.number("space", most=9)
    filters = Filters(
        since=given.moment("from"),
        until=given.moment("to", end=True),
        actor=_actor(given, team),
        key=_key(given, team),
        method=given.choice("method", [str(method) for method in Method]),
        source=given.choice("source", Source.values),
        outcome=given.choice("outcome", Outcome.values),
        address=given.address("address"),
        space=spaces.get(number) if number is not None else None,
        gallery=_gallery(given, user, team),
        request=given.matching("request", r"[\w-]{1,36}", "request's number"),
        person=person,
        text=text,
        low=given.share("low"),
        high=given.share("high"),
        people=people,
    )
    if filters.since and filters.until and filters.until < filters.since:
        given.refuse("to", "This is before the beginning.")
    if filters.low is not None and filters.high is not None and filters.high < filters.low:
        given.refuse("high", "This is below the lower bound.")
    names = {name: given.raw(name) for name in NAMES}
    return Wanted(filters, chosen(filters, names), given.errors)


def chosen(filters: Filters, given: Mapping[str, str]) -> dict[str, str]:
    """The query parameters that express these filters."""
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


def _key(given: Parameters, team: Team) -> ApiKey | None:
    pk = given.number("key")
    key = ApiKey.objects.filter(team=team, pk=pk).first() if pk is not None else None
    if pk is not None and key is None:
        given.refuse("key", "There is no such API key in this team.")
    return key


def _actor(given: Parameters, team: Team) -> User | None:
    """Users who made calls in this team, including former members."""
    pk = given.number("actor")
    if pk is None:
        return None
    user = User.objects.filter(pk=pk).first()
    if user is not None and (
        user.memberships.filter(team=team).exists()
        or Call.objects.filter(team=team, actor=user).exists()
    ):
        return user
    given.refuse("actor", "Nobody of that number has asked for anything in this team.")
    return None


def _gallery(given: Parameters, user: Asker, team: Team) -> Gallery | None:
    """A gallery that the reader may see. Auditors, who read the whole record, may use any."""
    text = given.raw("gallery")
    gallery = _seen_gallery(text, user, team)
    if text and gallery is None:
        given.refuse("gallery", f"There is no gallery “{shown(text)}”. Type its address.")
    return gallery


def _seen_gallery(text: str, user: Asker, team: Team) -> Gallery | None:
    gallery = Gallery.objects.filter(team=team, slug=text).first() if text else None
    if gallery is None or galleries_seen_by(user, team).filter(pk=gallery.pk).exists():
        return gallery
    return None if gallery.pk in records_hidden_from(user, team) else gallery


def _person(given: Parameters, spaces: Mapping[int, Space]) -> Person | None:
    """Parse "5.12" or "Anna (5.12)" as number 12 of space 5, and "person12" if only one space has
    that number. None for a name, which is searched as text."""
    text = given.raw("person")
    match = _PERSON.fullmatch(text)
    people = Person.objects.select_related("space")
    if match is not None:
        space, person_id = spaces.get(int(match[1])), whole(match[2])
        found = None
        if space is not None and person_id is not None:
            found = people.filter(space=space, person_id=person_id).first()
        if found is None:
            given.refuse("person", f"There is no person {shown(match[2])} in space {match[1]}.")
        return found
    number = tagged(text)
    several = list(people.filter(space__in=spaces.values(), person_id=number)[:2]) if number else []
    if len(several) == 1:
        return several[0]
    if looks_like_tag(text):
        given.refuse(
            "person",
            f"Several spaces have a person {number}: write the space before it, as 5.{number}."
            if several
            else "No space has a person of that number.",
        )
    return None
