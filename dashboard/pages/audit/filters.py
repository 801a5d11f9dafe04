"""Filters of the audit log: parsed from a URL, and written to one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlencode

from django.db.models import Q, QuerySet, Subquery

from persons.chain.verify import address_of
from persons.inputs.params import Parameters, moment_of, shown
from persons.models import AuditEntry

KINDS = {
    "apikey": "API keys",
    "call": "Calls to Vision",
    "change": "Decisions on several faces",
    "consent": "Consents",
    "enrolment": "Enrolled pictures",
    "erasure": "Erasures",
    "face": "Faces",
    "gallery": "Galleries",
    "grouping": "Groups of unknown faces",
    "invitation": "Invitations",
    "legalhold": "Legal holds",
    "person": "People",
    "photo": "Photos",
    "sharelink": "Public links",
    "spacejob": "Snapshots and restores",
    "space": "Spaces",
    "team": "The team",
    "user": "Members and accounts",
}
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
SLACK = timedelta(minutes=10)
"""Numbers follow time, except for the duration of an insert: this is the allowance."""
YEARS = range(1970, 2200)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Filters of the audit log. `since` and `until` are kept as typed, a day or a minute, both
    inclusive. Calls to Vision are excluded by default, since one user action may cause a
    thousand."""

    since: str = ""
    until: str = ""
    actor: int | None = None
    action: str = ""
    kind: str = ""
    address: str = ""
    request: str = ""
    text: str = ""
    calls: bool = False

    @classmethod
    def parse(cls, given: Parameters, actions: frozenset[str]) -> AuditQuery:
        """Parse the parameters; invalid values are reported in `given.errors`."""
        return cls(
            since=_typed(given, "from"),
            until=_typed(given, "to"),
            actor=given.number("actor"),
            action=given.choice("action", actions),
            kind=given.choice("kind", KINDS),
            address=_address(given),
            request=given.matching("request", r"[0-9A-Za-z-]{1,36}", "request's number"),
            text=given.raw("q"),
            calls=given.choice("calls", ("1",)) == "1",
        )

    @property
    def chosen(self) -> dict[str, str]:
        """The URL parameters, without defaults."""
        values = {
            "q": self.text,
            "from": self.since,
            "to": self.until,
            "actor": "" if self.actor is None else str(self.actor),
            "action": self.action,
            "kind": self.kind,
            "address": self.address,
            "request": self.request,
            "calls": "1" if self.calls else "",
        }
        return {name: value for name, value in values.items() if value}

    @property
    def string(self) -> str:
        return urlencode(self.chosen)

    @property
    def with_calls(self) -> bool:
        """Whether calls are included: a filter by request includes its calls."""
        asked = self.calls or self.kind == "call" or self.action.startswith("call.")
        return asked or bool(self.request)

    def matching(self, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """The matching entries of a team's `entries`, as returned by `access.audit_for`."""
        exact = {
            "actor": self.actor,
            "action": self.action,
            "target_type": self.kind,
            "address": self.address,
            "request_id": self.request,
        }
        # No join with accounts: the entries of a deleted account would be lost.
        found = entries.select_related(None)
        found = found.filter(**{name: value for name, value in exact.items() if value})
        if not self.with_calls:
            found = found.filter(~Q(action__startswith="call."))
        if self.text:
            words = Q()
            for field in ("target_text", "actor_text", "reason"):
                words |= Q(**{f"{field}__icontains": self.text})
            # Entries closed to the reader must not be found by guessing their words:
            # `access.audit_for`.
            found = found.filter(words & Q(is_closed=False))
        return self._between(found, entries)

    def _between(
        self, found: QuerySet[AuditEntry], entries: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        """Filter by time, and by the matching range of numbers, which has an index."""
        moments = entries.order_by().values("pk")
        if since := _moment(self.since):
            first = moments.filter(at__gte=since - SLACK).order_by("at")[:1]
            found = found.filter(at__gte=since, pk__gte=Subquery(first))
        if until := _moment(self.until):
            until += MINUTE if "T" in self.until else DAY
            last = moments.filter(at__lt=until + SLACK).order_by("-at")[:1]
            found = found.filter(at__lt=until, pk__lte=Subquery(last))
        return found


def _moment(text: str) -> datetime | None:
    """The start of a day, "2026-11-29", or of a minute, "2026-11-29T10:30"."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2})?", text):
        return None
    return moment_of(text)


def _typed(given: Parameters, name: str) -> str:
    text = given.raw(name)
    if text and _moment(text) is None:
        given.refuse(
            name,
            f"“{shown(text)}” is no day or minute. Write it as 2026-11-30 or 2026-11-30T12:30.",
        )
        return ""
    return text


def _address(given: Parameters) -> str:
    """The address filter, parsed as `verify.py` does."""
    text = given.raw("address")
    try:
        return str(ip_address(address_of(text))) if text else ""
    except ValueError:
        given.refuse("address", f"“{shown(text)}” is no IP address.")
        return ""
