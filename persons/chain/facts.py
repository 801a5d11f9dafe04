"""Compares decisions and names, which evidence cards show as facts, with their audit entries.

A decision's entry holds under `said` who was given which faces and when (`statement_of`). A naming
entry holds the name. Evidence cards and chain verification compare the database rows with these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any, Literal

from django.db.models import Q

from persons.chain import records
from persons.chain.entries import is_vouched, moment
from persons.chain.verify import UPGRADE, Broken
from persons.models import AuditEntry, Change, ChangedFace, Decision, Face, Person, Team, User

SAID = "said"
UNDONE, NAMED = "change.undo", ("person.create", "person.rename")
ABOUT = timedelta(minutes=10)
"""A change and its entry are of one transaction."""

State = Literal["whole", "unknown", "altered"]
"""Matches its audit entry; older than such entries; differs from its audit entry."""


def statement_of(change: Change, faces: Collection[int]) -> dict[str, Any]:
    """A decision's facts for its audit entry. The entry's actor is who made the decision."""
    return {
        "change": change.pk,
        "kind": str(change.kind),
        "at": moment(change.created_at),
        "space": change.space_id,
        "person": change.person_id,
        "other": change.other_id,
        "label": change.label,
        "count": change.face_count,
        "faces": sorted(faces),
    }


class Known:
    """Indexes which entries of a team vouch for which decisions and names."""

    def __init__(self, team: Team | None) -> None:
        self._team = team
        self._changes: dict[int, int] = {}
        self._undone: dict[int, int] = {}
        self._named: dict[int, int] = {}
        self._before = Before({})

    def note(self, entry: AuditEntry) -> None:
        """Index one entry. Call this for all entries, oldest first."""
        if entry.action.startswith("call."):
            return
        if entry.action == UPGRADE:
            self._before = Before(entry.after)
        elif entry.action == UNDONE:
            self._undone[int(entry.target_id)] = entry.pk
        elif entry.action in NAMED and "label" in entry.after:
            self._named[int(entry.target_id)] = entry.pk
        if (stated := entry.after.get(SAID)) is not None:
            self._changes[stated["change"]] = entry.pk

    def demand(self) -> Iterator[int]:
        """Check every decision and name against its entry. Yields for progress. Raises Broken."""
        yield from self._demand_changes()
        yield from self._demand_names()

    def problem(self) -> str:
        """The first problem found, "" if there is none."""
        try:
            for _ in self.demand():
                pass
        except Broken as broken:
            return str(broken)
        return ""

    def _demand_changes(self) -> Iterator[int]:
        left = set(self._changes)
        for pks in records.batches(Change.objects.filter(team=self._team)):
            rows = Change.objects.filter(pk__in=pks).order_by("pk")
            faces = faces_of(pks)
            wanted = [one.get(pk, 0) for one in (self._changes, self._undone) for pk in pks]
            found = AuditEntry.objects.in_bulk(wanted)
            for change in rows:
                left.discard(change.pk)
                entry = found.get(self._changes.get(change.pk, 0))
                undone = found.get(self._undone.get(change.pk, 0))
                state = state_of_change(
                    change, faces.get(change.pk, set()), entry, undone, self._before
                )
                if state == "altered":
                    self._demand_change(change.pk, entry)
            yield pks[-1]
        for pk in sorted(left):
            if not Change.objects.filter(pk=pk, team=self._team).exists():
                self._broken(self._changes[pk], f"decision {pk} was deleted")

    def _demand_change(self, pk: int, entry: AuditEntry | None) -> None:
        """Read a mismatched decision again: it may just have been made or undone."""
        change = Change.objects.filter(pk=pk).first()
        if change is None or check_change(change) != "altered":
            return
        if entry is None:
            raise Broken(0, 0, f"no entry vouches for decision {pk}")
        self._broken(entry.pk, f"the record of decision {pk} was altered since")

    def _demand_names(self) -> Iterator[int]:
        for pks in records.batches(_people(self._team)):
            rows = Person.objects.filter(pk__in=pks).order_by("pk")
            found = AuditEntry.objects.in_bulk([self._named.get(pk, 0) for pk in pks])
            for person in rows:
                entry = found.get(self._named.get(person.pk, 0))
                if state_of_name(person, entry, self._before) == "altered":
                    self._demand_name(person.pk, entry)
            yield pks[-1]

    def _demand_name(self, pk: int, entry: AuditEntry | None) -> None:
        person = _people(self._team).filter(pk=pk).first()
        if person is None or check_name(person) != "altered":
            return
        if entry is None:
            raise Broken(0, 0, f"no entry vouches for the name of {person.tag}")
        self._broken(entry.pk, f"the name of {person.tag} was altered since")

    def _broken(self, pk: int, what: str) -> None:
        entry = AuditEntry.objects.get(pk=pk)
        raise Broken(entry.sequence or 0, entry.pk, what)


class Before:
    """The last decision and person that predate entries which vouch for them; set by an upgrade."""

    def __init__(self, stated: dict[str, Any]) -> None:
        self.change = int(stated.get("changes_before", 0))
        self.person = int(stated.get("people_before", 0))

    @classmethod
    def of(cls, team: Team | int | None) -> Before:
        upgrades = AuditEntry.objects.filter(team=team, action=UPGRADE).order_by("pk")
        return cls(upgrades.values_list("after", flat=True).first() or {})


# --- One of them ---


def check_change(change: Change) -> State:
    """Compare a decision with its entries, all read from the database now."""
    entry = entry_of_change(change)
    undone = (
        AuditEntry.objects.filter(
            team=change.team_id, action=UNDONE, target_type="change", target_id=str(change.pk)
        )
        .order_by("-pk")
        .first()
    )
    slug = change.team.slug
    if any(one is not None and not is_vouched(one, slug) for one in (entry, undone)):
        return "altered"
    faces = faces_of([change.pk]).get(change.pk, set())
    return state_of_change(change, faces, entry, undone, Before.of(change.team_id))


def entry_of_change(change: Change) -> AuditEntry | None:
    """The entry that vouches for a decision. It must have been written within ABOUT of it."""
    entries = AuditEntry.objects.filter(
        Q(action__startswith="face") | Q(action__startswith="person."),
        team=change.team_id,
        at__range=(change.created_at - ABOUT, change.created_at + ABOUT),
        after__said__change=change.pk,
    )
    return entries.order_by("pk").first()


def check_name(person: Person) -> State:
    team = person.space.team_id
    entries = AuditEntry.objects.filter(
        team=team, action__in=NAMED, target_type="person", target_id=str(person.pk)
    )
    entry = entries.filter(after__has_key="label").order_by("-pk").first()
    if entry is not None and not is_vouched(entry, person.space.team.slug):
        return "altered"
    return state_of_name(person, entry, Before.of(team))


def faces_of(pks: Collection[int]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    rows = ChangedFace.objects.filter(change__in=pks).values_list("change", "face")
    for change, face in rows:
        found.setdefault(change, set()).add(face)
    return found


def _people(team: Team | None) -> Any:
    """People with or without a name, so that a removed name is detected as well."""
    return Person.objects.filter(space__team=team, erasing=False)


# --- Compared ---


def state_of_change(
    change: Change,
    faces: Collection[int],
    entry: AuditEntry | None,
    undone: AuditEntry | None,
    before: Before,
) -> State:
    if not _is_undone_as_recorded(change, undone):
        return "altered"
    if entry is None:
        return "unknown" if change.pk <= before.change else "altered"
    stated = entry.after[SAID]
    now = statement_of(change, faces)
    same = ("change", "kind", "at", "space", "count")
    is_same = (
        all(stated[name] == now[name] for name in same)
        and now["label"] in (stated["label"], "")
        and _is_left(Person, now["person"], stated["person"])
        and _is_left(Person, now["other"], stated["other"])
        and _is_left(User, change.actor_id, entry.actor_id)
        and _are_left(now["faces"], stated["faces"])
    )
    if is_same and now["label"] != stated["label"]:
        # An erasure of the person also removes the name.
        is_same = not Person.objects.filter(pk=stated["person"], erasing=False).exists()
    return "whole" if is_same else "altered"


def _is_undone_as_recorded(change: Change, undone: AuditEntry | None) -> bool:
    if change.undone_at is None or undone is None:
        return change.undone_at is None and change.undone_by_id is None and undone is None
    at = undone.after.get("undone_at")
    is_then = at == moment(change.undone_at) if at else abs(change.undone_at - undone.at) < ABOUT
    return is_then and _is_left(User, change.undone_by_id, undone.actor_id)


def _is_left(model: Any, now: int | None, stated: int | None) -> bool:
    """Whether the reference is unchanged, or null because its target was deleted."""
    return now == stated or (now is None and not model.objects.filter(pk=stated).exists())


def _are_left(now: Collection[int], stated: Collection[int]) -> bool:
    if set(now) - set(stated):
        return False
    missing = set(stated) - set(now)
    if not missing:
        return True
    # A decision's face goes when the face is deleted or its person erased.
    there = Face.everything.filter(pk__in=missing).exclude(decision=Decision.ERASED)
    return not there.exists()


def state_of_name(person: Person, entry: AuditEntry | None, before: Before) -> State:
    if (entry.after["label"] if entry is not None else "") == person.label:
        return "whole"
    is_old = entry is None or entry.version == 1
    return "unknown" if is_old and person.pk <= before.person else "altered"
