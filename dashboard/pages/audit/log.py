"""The audit log: who did what to what, when and from where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.template.defaultfilters import filesizeformat
from django.urls import path, reverse
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.audit import chain as audit_chain
from dashboard.pages.audit.chain import panel_of
from dashboard.pages.audit.filters import KINDS, AuditQuery
from dashboard.pages.shared import fragment, is_fragment, page_by_key, signed_in
from persons import access
from persons.access import Right, Visible, audit_for, rights_of, team_for
from persons.audit.words import ACTIONS, FIELDS, WORDS, words_of
from persons.inputs.params import Parameters, whole
from persons.models import (
    AuditEntry,
    Membership,
    Person,
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
"""Maximum members that the filter offers. Others are reached from any of their entries."""
CLOSED = "something in a gallery that is closed to you"
ERASED = "what was erased"
HIDDEN_FIELDS = ("decision", "said", "undone_at", "other_pk")
"""Fields that the sentence already covers, or that exist for comparison only (`chain.facts`)."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One line of "before -> after". `before` and `after` are None if there was no value."""

    field: str
    before: str | None
    after: str | None
    full: str = ""
    """The whole value, if the text is truncated."""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry in words. `href` is empty if its target is gone or not visible to the reader."""

    entry: AuditEntry
    words: str
    target: str
    href: str
    changes: list[FieldChange]
    is_closed: bool = False


@signed_in
@require_GET
def audit(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    given = Parameters(request.GET.dict())
    query = AuditQuery.parse(given, frozenset(WORDS))
    actor = _actor(query.actor, found)
    entries = audit_for(request.user, team)
    is_list = is_fragment(request) and request.htmx.target == "entries"
    if is_list:
        given.demand()
    wanted = entries.none() if given.errors else query.matching(entries)
    page = page_by_key(wanted, request, PAGE_SIZE)
    visible = visible_targets(request.user, found)
    context = {
        "team": found,
        "page": page,
        "rows": rows_of(page.rows, found, visible),
        "chosen": query.chosen,
        "query": query.string,
        "with_calls": query.with_calls,
        "chosen_actor": actor,
        "actor_left": actor is not None and not actor.memberships.filter(team=found).exists(),
        "actions": [(group, list(words.items())) for group, words in ACTIONS.items()],
        "kinds": KINDS.items(),
        "members": list(_members(found)[:MOST_MEMBERS]),
        "errors": given.errors,
        "typed": query.chosen | {name: given.raw(name) for name in given.errors},
    }
    if is_list:
        return fragment(request, "audit/_entries.html", context)
    status = 400 if given.errors else 200
    context |= panel_of(request.user, found)
    return render(request, "audit/list.html", context, status=status)


def visible_targets(user: User, team: Team) -> Visible | None:
    """What entries may link to of galleries and people; None for whoever sees none of them."""
    return access.visible(user, team) if Right.GALLERIES in rights_of(user, team) else None


def rows_of(entries: Sequence[Any], team: Team, visible: Visible | None) -> list[EntryRow]:
    """The entries of `access.audit_for` in words, those that are closed to the reader without their
    target, with links that lead somewhere: a query for each kind of target."""
    links = _links([one for one in entries if not one.is_closed], team, visible)
    return [
        EntryRow(
            entry=entry,
            words=words_of(entry.action),
            target=CLOSED if entry.is_closed else _target(entry),
            href="" if entry.is_closed else links.get((entry.target_type, entry.target_id), ""),
            is_closed=entry.is_closed,
            changes=[] if entry.is_closed else changes_of(entry),
        )
        for entry in entries
    ]


def changes_of(entry: AuditEntry) -> list[FieldChange]:
    keys = [*entry.before, *(key for key in entry.after if key not in entry.before)]
    found = []
    for key in keys:
        old, new = entry.before.get(key), entry.after.get(key)
        if (key in entry.before and key in entry.after and old == new) or key in HIDDEN_FIELDS:
            continue
        before, after = _text(key, entry.before), _text(key, entry.after)
        if after is not None and old in (None, ""):
            before = None
        full = str(old if new is None else new) if key == "sha256" else ""
        found.append(FieldChange(FIELDS.get(key, key), before, after, full))
    return found


def _target(entry: AuditEntry) -> str:
    if entry.erased_at is not None and not entry.target_text:
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
        "redacted": _redacted,
        "spaces": _listed,
        "require_reasons": _some,
        "reason_choices": _some,
    }
    return str(special.get(key, _plain)(value))


def _plain(value: Any) -> str:
    """Counts by kind, or by place and kind (as of an erasure or a retention run), in words."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(
        f"{name} ({_plain(one)})" if isinstance(one, dict) else f"{name} {one}"
        for name, one in value.items()
    )


def _people(found: Any) -> str:
    """Names, or a count if there are many."""
    if isinstance(found, list):
        named = (f"person{one}" if isinstance(one, int) else str(one) for one in found)
        return ", ".join(named) or "nobody"
    return str(found)


def _redacted(found: Sequence[Sequence[Any]]) -> str:
    """Redacted entries by position in the chain, or by number if they had none yet."""
    return _numbers([one[1] or one[0] for one in found]) or "none"


def _listed(values: Any) -> str:
    """A key's permitted uses; an empty list means no limit."""
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
    """An account that acted in this team, whether or not it is still a member."""
    if pk is None:
        return None
    did_something = Exists(AuditEntry.objects.filter(team=team, actor=pk))
    belongs = Exists(Membership.objects.filter(team=team, user=pk))
    return User.objects.filter(did_something | belongs, pk=pk).first()


def _links(
    entries: Sequence[AuditEntry], team: Team, visible: Visible | None
) -> dict[tuple[str, str], str]:
    """Maps (type, id) of each target that still exists and may be opened to its URL."""
    wanted: dict[str, set[int]] = {}
    for entry in entries:
        if (target := whole(entry.target_id)) is not None:
            wanted.setdefault(entry.target_type, set()).add(target)
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
    if visible is None:
        return links
    galleries = visible.galleries().filter(pk__in=wanted.get("gallery", ()))
    found("gallery", galleries.values_list("pk", "slug"), "gallery")
    photos = visible.photos().filter(pk__in=wanted.get("photo", ()))
    found("photo", ((pk, pk) for pk in photos.values_list("pk", flat=True)), "photo")
    faces = visible.faces().filter(pk__in=wanted.get("face", ()))
    found("face", faces.values_list("pk", "photo"), "photo")
    people = Person.objects.filter(space__team=team, pk__in=wanted.get("person", ()))
    found("person", people.values_list("pk", "space__number", "person_id"), "person")
    enrolled = visible.pictures().filter(pk__in=wanted.get("enrolment", ()))
    found(
        "enrolment",
        enrolled.values_list("pk", "person__space__number", "person__person_id"),
        "person",
    )
    return links


urlpatterns = [path("audit/", audit, name="audit"), *audit_chain.urlpatterns]
