"""How Rollcall reaches Vision: the backend, its token, its circuit, and the last calls."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.shared import fragment, is_fragment, signed_in
from persons import backends, cloud
from persons.access import Right, rights_of, team_for
from persons.engine.weights import WeightsError
from persons.models import Call, CloudToken, Team
from persons.models.calls import Outcome
from persons.vision.guards import Phase
from persons.vision.transport import host_of

CLOUD = "cloud"
RECENT = 1000
"""Calls among which the last good and the last bad ones are looked for."""

FEW = 50
"""Calls among which Vision's words on a refused token are looked for."""

FAILURES = 5
REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of the cloud's token, and never the token.

    `state` is "fixed" (a service token), "fresh", "late" (expired, renewed by the next call),
    "none" (not fetched yet), "renewing", "again" (renewal failed, passes by itself), "refused" or
    "missing": for the last two somebody has to act.
    """

    kind: str
    state: str
    text: str = ""
    """Why not, in the server's words."""
    until: datetime | None = None
    """Fresh until then; or, where it was refused or not renewed, nothing is tried before."""

    @property
    def is_bad(self) -> bool:
        return self.state in ("refused", "missing")


@dataclass(frozen=True, slots=True)
class Line:
    """The circuit. `state` is "closed", "shaky" (failing, and not open yet), "open", "waiting"
    (open, and the next call tries) or "trying"."""

    state: str
    failures: int = 0
    opened: int = 0
    until: datetime | None = None

    @property
    def is_bad(self) -> bool:
        return self.state in ("open", "waiting", "trying")


@dataclass(frozen=True, slots=True)
class State:
    """The connection to the cloud. `host` is empty where VISION_URL is no address."""

    host: str
    token: Token
    line: Line


def state_of(team: Team) -> State | None:
    """None for the embedded recogniser: there is no connection to be in a state."""
    if not cloud.is_cloud():
        return None
    try:
        return State(host_of(settings.VISION_URL), _token(team), _line())
    except ValueError:
        return State("", Token("service", "missing"), Line("closed"))


def _line() -> Line:
    circuit = cloud.circuit()
    until = _moment(circuit.until)
    if circuit.phase is Phase.CLOSED:
        return Line("shaky" if circuit.failures else "closed", circuit.failures)
    if circuit.until <= time.time():
        state = "waiting"
    else:
        state = "trying" if circuit.phase is Phase.HALF_OPEN else "open"
    return Line(state, circuit.failures, circuit.opened, until)


def _token(team: Team) -> Token:
    kind = "client" if settings.VISION_CLIENT_ID else "service"
    if kind == "service" and not settings.VISION_TOKEN:
        return Token(kind, "missing")
    if kind == "client" and (problem := cloud.problem()) is not None:
        state = "refused" if problem.final else "again"
        return Token(kind, state, problem.text, _moment(problem.until))
    refusal = cloud.credentials()
    if refusal.phase is not Phase.CLOSED:
        return Token(kind, "refused", _words(team), _moment(refusal.until))
    return Token(kind, "fixed") if kind == "service" else _grant()


def _grant() -> Token:
    now = time.time()
    if CloudToken.objects.filter(account=cloud.account(), claimed_until__gt=now).exists():
        return Token("client", "renewing")
    grant = cloud.DatabaseVault(cloud.account()).read().grant
    if grant is None:
        return Token("client", "none")
    state = "fresh" if now < grant.expires_at else "late"
    return Token("client", state, until=_moment(grant.expires_at))


def _words(team: Team) -> str:
    """Vision's own, where one of the team's last calls was the one that was refused."""
    newest = Call.objects.filter(team=team).order_by("-pk")
    for backend, status, error in newest.values_list("backend", "status", "error")[:FEW]:
        if backend == CLOUD and status in REFUSED:
            return error
    return ""


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


@signed_in
@require_GET
def connection(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    context: dict[str, Any] = {
        "team": found,
        "can_manage": Right.MANAGE in rights_of(request.user, found),
        "state": state_of(found),
        "last_good": _judged(found).filter(outcome__in=[Outcome.DONE, Outcome.PARTIAL]).first(),
        "failures": _failed(_judged(found))[:FAILURES],
        "recent": RECENT,
    }
    if is_fragment(request) and request.htmx.target == "connection":
        return fragment(request, "connection/_live.html", context)
    context |= _settings() if cloud.is_cloud() else _engine()
    return render(request, "connection/connection.html", context)


def _judged(team: Team) -> QuerySet[Call]:
    """The team's last calls that today's backend was asked, newest first.

    Only so many are looked through: this page asks again and again, and a history has no end.
    """
    newest = Call.objects.filter(team=team).order_by("-pk").values("pk")[:RECENT]
    backend = CLOUD if cloud.is_cloud() else "embedded"
    return Call.objects.filter(pk__in=newest, backend=backend, saved_count=0).for_list()


def _failed(calls: QuerySet[Call]) -> QuerySet[Call]:
    """Without those that were not sent, and those of which only the pictures were at fault."""
    unjudged = Q(status__in=REFUSED) | Q(status=None)
    return calls.filter(Q(outcome=Outcome.TEMPORARY) | Q(outcome=Outcome.REJECTED) & unjudged)


def _settings() -> dict[str, Any]:
    return {
        "provider": settings.VISION_PROVIDER,
        "requests_per_second": settings.VISION_REQUESTS_PER_SECOND,
        "images_per_second": settings.VISION_IMAGES_PER_SECOND,
        "connect_seconds": settings.VISION_CONNECT_SECONDS,
        "read_seconds": settings.VISION_READ_SECONDS,
    }


def _engine() -> dict[str, Any]:
    try:
        weights = backends.weights()
    except WeightsError:
        return {"models": None, "threads": settings.ENGINE_THREADS}
    return {
        "models": [
            ("Finds faces", weights.detector.path.stem, weights.detector.sha256),
            ("Tells them apart", weights.recogniser.path.stem, weights.recogniser.sha256),
        ],
        "threads": settings.ENGINE_THREADS,
    }


urlpatterns = [path("connection/", connection, name="connection")]
