"""The audit log: who did what to what, when and from where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.template.defaultfilters import filesizeformat
from django.urls import path, reverse
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages import audit_chain
from dashboard.pages.audit_chain import panel_of
from dashboard.pages.audit_filters import KINDS, AuditQuery
from dashboard.pages.shared import fragment, is_fragment, page_by_key, signed_in
from persons.access import Right, audit_for, rights_of, team_for
from persons.audit_words import ACTIONS, FIELDS, WORDS, words_of
from persons.discretion import entries_closed_to
from persons.models import (
    AuditEntry,
    Enrolment,
    Face,
    Gallery,
    Membership,
    Person,
    Photo,
    Role,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.changes import ChangeKind

PAGE_SIZE = 50
MOST_NUMBERS = 12
MOST_MEMBERS = 100
"""That the filter offers. Somebody else's entries are reached from any of theirs."""
CLOSED = "something in a gallery that is closed to you"
ERASED = "what was erased"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of "before -> after". `before` is None where there was nothing, `after` likewise."""

    field: str
    before: str | None
    after: str | None
    full: str = ""
    """The whole value, where the text is only its beginning."""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in words. `href` is empty where its target is gone or not the reader's to see."""

    entry: AuditEntry
    words: str
    target: str
    href: str
    changes: list[Change]
    is_closed: bool = False


@signed_in
@require_GET
def audit(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    query = AuditQuery.parse(request.GET, frozenset(WORDS))
    actor = _actor(query.actor, found)
    page = page_by_key(query.matching(audit_for(request.user, team)), request, PAGE_SIZE)
    closed = entries_closed_to(request.user, found, page.rows)
    # What is closed can't be found by guessing its words, either.
    shown = [one for one in page.rows if not query.text or one.pk not in closed]
    may_see = Right.GALLERIES in rights_of(request.user, found)
    context = {
        "team": found,
        "page": page,
        "rows": rows_of(shown, found, may_see=may_see, closed=closed),
        "chosen": query.chosen,
        "query": query.string,
        "with_calls": query.with_calls,
        "chosen_actor": actor,
        "actor_left": actor is not None and not actor.memberships.filter(team=found).exists(),
        "actions": [(group, list(words.items())) for group, words in ACTIONS.items()],
        "kinds": KINDS.items(),
        "members": list(_members(found)[:MOST_MEMBERS]),
    }
    if is_fragment(request) and request.htmx.target == "entries":
        return fragment(request, "audit/_entries.html", context)
    return render(request, "audit/list.html", context | panel_of(request.user, found))


def rows_of(
    entries: Sequence[AuditEntry], team: Team, *, may_see: bool, closed: Collection[int] = ()
) -> list[Row]:
    """The entries in words, those that are `closed` to the reader without their target,
    with links that lead somewhere: a query for each kind of target."""
    links = _links([one for one in entries if one.pk not in closed], team, may_see=may_see)
    return [
        Row(
            entry=entry,
            words=words_of(entry.action),
            target=CLOSED if entry.pk in closed else _target(entry),
            href=links.get((entry.target_type, entry.target_id), ""),
            is_closed=entry.pk in closed,
            changes=[] if entry.pk in closed else changes_of(entry),
        )
        for entry in entries
    ]


def changes_of(entry: AuditEntry) -> list[Change]:
    keys = [*entry.before, *(key for key in entry.after if key not in entry.before)]
    found = []
    for key in keys:
        old, new = entry.before.get(key), entry.after.get(key)
        if (key in entry.before and key in entry.after and old == new) or key == "decision":
            # Every decision is an action of its own: the sentence says it.
            continue
        before, after = _text(key, entry.before), _text(key, entry.after)
        if after is not None and old in (None, ""):
            before = None
        full = str(old if new is None else new) if key == "sha256" else ""
        found.append(Change(FIELDS.get(key, key), before, after, full))
    return found


def _target(entry: AuditEntry) -> str:
    if entry.erased_at is not None:
        return ERASED
    if entry.target_type == "face":
        return "a face"
    if entry.target_type == "change":
        count = int(entry.before.get("faces") or entry.after.get("faces") or 0)
        return f"what was said of {count} face{'' if count == 1 else 's'}"
    if entry.target_type == "enrolment":
        return entry.target_text.rpartition(": ")[0] or entry.target_text
    if entry.target_type == "invitation":
        return entry.target_text.rpartition(" to ")[0] or entry.target_text
    return entry.target_text


def _text(key: str, values: Mapping[str, Any]) -> str | None:
    if key not in values:
        return None
    value = values[key]
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    special: dict[str, Callable[[Any], str]] = {
        "role": lambda word: str(Role(word).label) if word in Role.values else word,
        "sha256": lambda digest: str(digest)[:12],
        "size": filesizeformat,
        "face": lambda pk: f"face {pk}",
        "expires_at": lambda moment: str(moment)[:16].replace("T", " "),
        "ids": _numbers,
        "methods": _listed,
        "box": _listed,
        "filters": _filters,
        "kind": lambda kind: str(ChangeKind(kind).label) if kind in ChangeKind.values else kind,
        "people": _people,
        "spaces": _listed,
        "require_reasons": _some,
        "reason_choices": _some,
    }
    return str(special.get(key, _plain)(value))


def _plain(value: Any) -> str:
    """Numbers by kind, or by place and kind, as of an erasure or a run of retention, in words."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(
        f"{name} ({_plain(one)})" if isinstance(one, dict) else f"{name} {one}"
        for name, one in value.items()
    )


def _people(found: Any) -> str:
    """Who they are, or where they are many, how many."""
    if isinstance(found, list):
        return ", ".join(f"person{number}" for number in found) or "nobody"
    return str(found)


def _listed(values: Any) -> str:
    """What a key may be used for: an empty list is no limit."""
    return ", ".join(str(value) for value in values) or "all"


def _some(values: Any) -> str:
    return ", ".join(str(value) for value in values) or "none"


def _filters(asked: Any) -> str:
    if not isinstance(asked, dict):
        return str(asked)
    return ", ".join(f"{name}={value}" for name, value in asked.items()) or "none"


def _numbers(pks: Sequence[int]) -> str:
    shown = ", ".join(str(pk) for pk in pks[:MOST_NUMBERS])
    more = len(pks) - MOST_NUMBERS
    return f"{shown} and {more:,} more" if more > 0 else shown


def _members(team: Team) -> QuerySet[User]:
    members = User.objects.filter(memberships__team=team).order_by("username")
    return members.only("username", "first_name", "last_name")


def _actor(pk: int | None, team: Team) -> User | None:
    """Somebody who did something in this team, whether or not they are still a member."""
    if pk is None:
        return None
    did_something = Exists(AuditEntry.objects.filter(team=team, actor=pk))
    belongs = Exists(Membership.objects.filter(team=team, user=pk))
    return User.objects.filter(did_something | belongs, pk=pk).first()


def _links(
    entries: Sequence[AuditEntry], team: Team, *, may_see: bool
) -> dict[tuple[str, str], str]:
    """(type, id) of each target that still is there and may be opened, to its address."""
    wanted: dict[str, set[int]] = {}
    for entry in entries:
        if entry.target_id.isdigit():
            wanted.setdefault(entry.target_type, set()).add(int(entry.target_id))
    links: dict[tuple[str, str], str] = {}

    def found(kind: str, rows: Any, name: str) -> None:
        for pk, *args in rows:
            links[kind, str(pk)] = reverse(name, args=[team.slug, *args])

    spaces = Space.objects.filter(team=team, pk__in=wanted.get("space", ()))
    found("space", spaces.values_list("pk", "number"), "space")
    jobs = SpaceJob.objects.filter(team=team, pk__in=wanted.get("spacejob", ()))
    found("spacejob", jobs.values_list("pk", "space__number"), "space")
    if wanted.keys() & {"user", "invitation", "team"}:
        for kind in ("user", "invitation", "team"):
            found(kind, ([pk] for pk in wanted.get(kind, ())), "members")
    found("apikey", ([pk] for pk in wanted.get("apikey", ())), "api_keys")
    found("call", ([pk, pk] for pk in wanted.get("call", ())), "call")
    if not may_see:
        return links
    galleries = Gallery.objects.filter(team=team, pk__in=wanted.get("gallery", ()))
    found("gallery", galleries.values_list("pk", "slug"), "gallery")
    photos = Photo.objects.filter(gallery__team=team, pk__in=wanted.get("photo", ()))
    found("photo", ((pk, pk) for pk in photos.values_list("pk", flat=True)), "photo")
    faces = Face.objects.filter(photo__gallery__team=team, pk__in=wanted.get("face", ()))
    found("face", faces.values_list("pk", "photo"), "photo")
    people = Person.objects.filter(space__team=team, pk__in=wanted.get("person", ()))
    found("person", people.values_list("pk", "space__number", "person_id"), "person")
    enrolled = Enrolment.objects.filter(
        person__space__team=team, pk__in=wanted.get("enrolment", ())
    )
    found(
        "enrolment",
        enrolled.values_list("pk", "person__space__number", "person__person_id"),
        "person",
    )
    return links


urlpatterns = [path("audit/", audit, name="audit"), *audit_chain.urlpatterns]
