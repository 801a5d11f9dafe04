"""The connection to Vision: the backend, its token, its circuit breaker, and the last calls."""

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
from persons.access import Right, rights_of, team_for
from persons.backends import cloud, embedded
from persons.engine.weights import WeightsError
from persons.models import Call, CloudToken, Team
from persons.models.calls import Outcome
from persons.vision.guards import Phase
from persons.vision.transport import host_of

CLOUD = "cloud"
RECENT = 1000
"""The newest calls, among which the last good and the last failed ones are looked for."""

FEW = 50
"""The newest calls, among which Vision's error for a refused token is looked for."""

FAILURES = 5
REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Token:
    """The state of the cloud's token, never the token itself.

    `state` is "fixed" (a service token), "fresh", "late" (expired, renewed by the next call),
    "none" (not fetched yet), "renewing", "again" (renewal failed for now and is retried),
    "refused" or "missing". The last two need an operator.
    """

    kind: str
    state: str
    text: str = ""
    """The server's error, where there is one."""
    until: datetime | None = None
    """When the token expires; after a failure, when the next attempt may be made."""

    @property
    def is_bad(self) -> bool:
        return self.state in ("refused", "missing")


@dataclass(frozen=True, slots=True)
class CircuitState:
    """The circuit breaker.

    `state` is "closed", "shaky" (closed, with failures), "open", "waiting" (the next call may
    try) or "trying" (half open).
    """

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
    line: CircuitState


def state_of(team: Team) -> State | None:
    """The connection's state; None for the embedded recogniser, which has no connection."""
    if not cloud.is_cloud():
        return None
    try:
        return State(host_of(settings.VISION_URL), _token(team), _line())
    except ValueError:
        return State("", Token("service", "missing"), CircuitState("closed"))


def _line() -> CircuitState:
    circuit = cloud.circuit()
    until = _moment(circuit.until)
    if circuit.phase is Phase.CLOSED:
        return CircuitState("shaky" if circuit.failures else "closed", circuit.failures)
    if circuit.until <= time.time():
        state = "waiting"
    else:
        state = "trying" if circuit.phase is Phase.HALF_OPEN else "open"
    return CircuitState(state, circuit.failures, circuit.opened, until)


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
    """Vision's error for the refused token, if one of the team's last calls has it; else ""."""
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
        return fragment(request, "spaces/connection/_live.html", context)
    context |= _settings() if cloud.is_cloud() else _engine()
    return render(request, "spaces/connection/connection.html", context)


def _judged(team: Team) -> QuerySet[Call]:
    """The team's calls to the current backend among its RECENT newest ones, newest first.

    The limit bounds the cost of this page, which polls.
    """
    newest = Call.objects.filter(team=team).order_by("-pk").values("pk")[:RECENT]
    backend = CLOUD if cloud.is_cloud() else "embedded"
    return Call.objects.filter(pk__in=newest, backend=backend, saved_count=0).for_list()


def _failed(calls: QuerySet[Call]) -> QuerySet[Call]:
    """The failed calls, without those that were not sent or whose pictures were at fault."""
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
        weights = embedded.weights()
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
