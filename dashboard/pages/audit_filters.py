"""Which entries of the audit log are shown: read from an address, written to one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlencode

from django.db.models import Q, QuerySet, Subquery
from django.http import QueryDict
from django.utils import timezone

from persons.chain.verify import address_of
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
"""Numbers are given in the order of time, give or take how long an insert may take."""
LONGEST_TEXT = 100
YEARS = range(1970, 2200)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """`since` and `until` as they were typed, a day or a minute, both included. Calls to Vision are
    left out, unless they are asked for, since there may be a thousand for each thing people do."""

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
    def parse(cls, data: QueryDict, actions: frozenset[str]) -> AuditQuery:
        """Whatever is no value of its parameter is left out, as if it had not been asked for."""
        action, kind, actor = (data.get(name, "") for name in ("action", "kind", "actor"))
        return cls(
            since=data.get("from", "") if _moment(data.get("from", "")) else "",
            until=data.get("to", "") if _moment(data.get("to", "")) else "",
            actor=int(actor) if re.fullmatch(r"[0-9]{1,18}", actor) else None,
            action=action if action in actions else "",
            kind=kind if kind in KINDS else "",
            address=_address(data.get("address", "")),
            request=_matching(r"[0-9A-Za-z-]{1,36}", data.get("request", "").strip()),
            text=_words(data.get("q", "")),
            calls=data.get("calls") == "1",
        )

    @property
    def chosen(self) -> dict[str, str]:
        """Of its address; what is as usual is not said."""
        said = {
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
        return {name: value for name, value in said.items() if value}

    @property
    def string(self) -> str:
        return urlencode(self.chosen)

    @property
    def with_calls(self) -> bool:
        """All that one request caused has its calls among it."""
        asked = self.calls or self.kind == "call" or self.action.startswith("call.")
        return asked or bool(self.request)

    def matching(self, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Those of a team's `entries`."""
        exact = {
            "actor": self.actor,
            "action": self.action,
            "target_type": self.kind,
            "address": self.address,
            "request_id": self.request,
        }
        # Without the accounts: one may be gone, and its entries would go with it.
        found = entries.select_related(None)
        found = found.filter(**{name: value for name, value in exact.items() if value})
        if not self.with_calls:
            found = found.filter(~Q(action__startswith="call."))
        if self.text:
            words = Q()
            for field in ("target_text", "actor_text", "reason"):
                words |= Q(**{f"{field}__icontains": self.text})
            found = found.filter(words)
        return self._between(found, entries)

    def _between(
        self, found: QuerySet[AuditEntry], entries: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        """By time, and by where in the order of numbers that time is, which an index finds."""
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
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return timezone.make_aware(found) if found.year in YEARS else None


def _address(text: str) -> str:
    try:
        return str(ip_address(address_of(text.strip())))
    except ValueError:
        return ""


def _matching(pattern: str, text: str) -> str:
    return text if re.fullmatch(pattern, text) else ""


def _words(text: str) -> str:
    return " ".join(text.replace("\0", " ").split())[:LONGEST_TEXT]
