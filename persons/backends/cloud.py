"""The cloud backend: one client per process, with state shared through the database."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, TypeVar

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from persons.backends import circuits
from persons.backends.circuits import DatabaseBreaker
from persons.models import CloudBucket, CloudToken
from persons.vision.client import HttpVision, envelope_status
from persons.vision.errors import VisionUnauthorized
from persons.vision.guards import Bucket, Circuit, CircuitBreaker, RateLimit
from persons.vision.limits import MAX_IMAGES
from persons.vision.oauth import ClientCredentials
from persons.vision.tokens import Grant, Problem, Secret, ServiceToken, Stored, TokenSource
from persons.vision.transport import Http, host_of
from persons.vision.types import Answer, Image, Method

T = TypeVar("T")

BURST_SECONDS = 1.0
REFUSED_SECONDS = 300.0
FORBIDDEN = 403


def is_cloud() -> bool:
    return bool(settings.VISION_URL)


class Cloud(HttpVision):
    """A client that stops calling once the cloud has refused our credentials.

    It lets one call through every five minutes, so it recovers by itself once an owner has fixed
    the credentials.
    """

    def __init__(self, *args: Any, trust: CircuitBreaker, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trust = trust

    def call(self, method: Method, meta: Mapping[str, Any], images: Sequence[Image]) -> Answer:
        # One query for both circuits.
        circuit, trusted = circuits.read(self.model, _credentials_of(self.model))
        admission = self._trust.admit(trusted)
        try:
            answer = self.ask(method, meta, images, circuit)
        except VisionUnauthorized:
            self._trust.failed(admission)
            raise
        except BaseException:
            self._trust.abandoned(admission)
            raise
        if envelope_status(answer.raw) == FORBIDDEN:
            self._trust.failed(admission)
        else:
            self._trust.succeeded(admission)
        return answer


@lru_cache(maxsize=1)
def cloud() -> Cloud:
    """The client for VISION_URL. Raises ImproperlyConfigured if that is not a valid address."""
    try:
        upstream = host_of(settings.VISION_URL)
    except ValueError as error:
        raise ImproperlyConfigured(f"VISION_URL: {error}.") from None
    http = Http(
        connect_timeout=settings.VISION_CONNECT_SECONDS, read_timeout=settings.VISION_READ_SECONDS
    )
    return Cloud(
        settings.VISION_URL,
        tokens(),
        provider=settings.VISION_PROVIDER,
        http=http,
        breaker=breaker(upstream),
        limit=_rate_limit(upstream),
        trust=trust(upstream),
    )


def tokens() -> TokenSource:
    if settings.VISION_CLIENT_ID:
        return ClientCredentials(
            settings.VISION_CLIENT_ID,
            settings.VISION_CLIENT_SECRET,
            settings.VISION_OAUTH_URL,
            DatabaseVault(account()),
            # Two requests must fit into the lease of one token renewal.
            Http(read_timeout=15.0, deadline=20.0),
        )
    return ServiceToken(settings.VISION_TOKEN)


def account() -> str:
    text = f"{settings.VISION_OAUTH_URL} {settings.VISION_CLIENT_ID}"
    return hashlib.sha256(text.encode()).hexdigest()


def breaker(upstream: str) -> CircuitBreaker:
    return CircuitBreaker(upstream, DatabaseBreaker(upstream))


def trust(upstream: str) -> CircuitBreaker:
    """The breaker that opens at the first refusal of the credentials."""
    return CircuitBreaker(
        f"{upstream}'s trust in our credentials",
        DatabaseBreaker(_credentials_of(upstream)),
        threshold=1,
        cool_down=REFUSED_SECONDS,
        ceiling=REFUSED_SECONDS,
    )


def _credentials_of(upstream: str) -> str:
    return f"{upstream} credentials"


def circuit() -> Circuit:
    """The cloud's circuit, shared by all processes; always closed for the embedded recogniser."""
    return DatabaseBreaker(host_of(settings.VISION_URL)).read() if is_cloud() else Circuit()


def credentials() -> Circuit:
    """The shared circuit that a refusal of our credentials opens; see `Cloud`."""
    return trust(host_of(settings.VISION_URL)).state() if is_cloud() else Circuit()


def problem() -> Problem | None:
    """Why the last renewal of the cloud's token failed; shared by all processes."""
    if not is_cloud() or not settings.VISION_CLIENT_ID:
        return None
    return DatabaseVault(account()).read().problem


def _rate_limit(upstream: str) -> RateLimit | None:
    requests, images = settings.VISION_REQUESTS_PER_SECOND, settings.VISION_IMAGES_PER_SECOND
    if not requests and not images:
        return None
    return RateLimit(
        requests=_bucket(f"{upstream} requests", requests),
        images=_bucket(f"{upstream} images", images, least=MAX_IMAGES),
    )


def _bucket(name: str, rate: float, least: float = 1.0) -> Bucket | None:
    if not rate:
        return None
    return Bucket(DatabaseBucket(name), rate=rate, burst=max(least, rate * BURST_SECONDS))


class DatabaseVault:
    """`persons.vision.tokens.TokenVault` with one encrypted row per account."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self) -> Stored:
        row = CloudToken.objects.filter(account=self._name).first()
        return _open(bytes(row.sealed)) if row and row.sealed else Stored()

    def claim(self, claimant: str, seconds: float) -> bool:
        CloudToken.objects.bulk_create([CloudToken(account=self._name)], ignore_conflicts=True)
        now = time.time()
        free = Q(claimant="") | Q(claimed_until__lte=now)
        return bool(
            CloudToken.objects.filter(free, account=self._name).update(
                claimant=claimant, claimed_until=now + seconds
            )
        )

    def store(self, claimant: str, stored: Stored) -> bool:
        return bool(
            CloudToken.objects.filter(account=self._name, claimant=claimant).update(
                sealed=_seal(stored), claimant="", claimed_until=0.0, settled_at=timezone.now()
            )
        )

    def release(self, claimant: str) -> None:
        CloudToken.objects.filter(account=self._name, claimant=claimant).update(
            claimant="", claimed_until=0.0
        )


class DatabaseBucket:
    """`persons.vision.guards.BucketState` with one row per bucket, locked while it is updated."""

    def __init__(self, name: str) -> None:
        self._name = name

    @transaction.atomic
    def take(self, now: float, seconds: float, window: float, patience: float) -> float:
        CloudBucket.objects.bulk_create([CloudBucket(name=self._name)], ignore_conflicts=True)
        row = CloudBucket.objects.select_for_update().get(name=self._name)
        empty_at = max(row.empty_at, now - window) + seconds
        wait = max(0.0, empty_at - now)
        if wait <= patience:
            CloudBucket.objects.filter(pk=row.pk).update(empty_at=empty_at)
        return wait

    def give_back(self, seconds: float) -> None:
        CloudBucket.objects.filter(name=self._name).update(empty_at=F("empty_at") - seconds)


# --- Sealing -------------------------------------------------------------------------------------


def _quietly(work: Callable[[], T]) -> T:
    """Return what `work` returns. Exceptions lose their frames: the variables there hold clear-text
    tokens, which an error report would print."""
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - raised again
        failure = error.with_traceback(None)
    failure.__cause__ = failure.__context__ = None
    try:
        raise failure
    finally:
        del failure  # else frame and exception would hold each other


def _fernet() -> Fernet:
    secret = settings.ENCRYPTION_KEY.reveal() or settings.SECRET_KEY
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"rollcall cloud token").derive(
        secret.encode()
    )
    return Fernet(base64.urlsafe_b64encode(derived))


def _seal(stored: Stored) -> bytes:
    return _quietly(lambda: _fernet().encrypt(_as_bytes(stored)))


def _as_bytes(stored: Stored) -> bytes:
    content: dict[str, Any] = {}
    if stored.grant:
        content["grant"] = {
            "access": stored.grant.access.reveal(),
            "refresh": stored.grant.refresh.reveal() if stored.grant.refresh else None,
            "obtained_at": stored.grant.obtained_at,
            "expires_at": stored.grant.expires_at,
        }
    if stored.problem:
        content["problem"] = asdict(stored.problem)
    return json.dumps(content).encode()


def _open(sealed: bytes) -> Stored:
    """Decrypt a sealed token. Empty if the key has changed, so that a new token is requested."""
    try:
        return _quietly(lambda: _stored(json.loads(_fernet().decrypt(sealed))))
    except (InvalidToken, ValueError, KeyError, TypeError):
        return Stored()


def _stored(content: dict[str, Any]) -> Stored:
    grant = content.get("grant")
    return Stored(
        grant=Grant(
            access=Secret(grant["access"]),
            refresh=Secret(grant["refresh"]) if grant["refresh"] else None,
            obtained_at=grant["obtained_at"],
            expires_at=grant["expires_at"],
        )
        if grant
        else None,
        problem=Problem(**content["problem"]) if content.get("problem") else None,
    )
