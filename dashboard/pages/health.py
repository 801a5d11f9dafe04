"""Liveness, readiness and metrics, for monitoring. They need no sign-in and reveal no names."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

import redis
from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from persons.backends import cloud, embedded
from persons.engine.weights import WeightsError
from persons.models import Call, Face, Person, Photo, PhotoState, SyncState
from persons.vision.guards import Phase
from persons.work import claimed_since

STALLED = timedelta(minutes=2)
"""If due work stays untouched for this long, there is no worker for it."""

DISK_BYTES = 200 * 1024 * 1024
"""Below this much free space, uploads are about to fail."""

REDIS_SECONDS = 2


class _Unready(Exception):
    """A check failed. Its text is public, so it says what is missing and nothing else."""


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Liveness: 200 if this process answers.

    It checks no dependency, because restarting this process would not repair one.
    """
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Readiness: 200 or 503, with the result of each check: "ok" or the reason.

    `work` is whether workers keep up, `vision` whether the cloud answers. They don't affect the
    status, because pages work without workers and without the cloud. Also, the circuit breaker
    only closes through incoming calls, which a load balancer would stop after a 503.
    """
    checks = {
        "database": _result_of(_check_database),
        "broker": _result_of(_check_broker),
        "storage": _result_of(_check_storage),
        "recogniser": _result_of(_check_recogniser),
    }
    ready = all(result == "ok" for result in checks.values())
    for name, check in (("work", _check_work), ("vision", _check_vision)):
        checks[name] = _result_of(check) if checks["database"] == "ok" else "not known"
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Metrics in Prometheus text format, for this machine or with ROLLCALL_METRICS_TOKEN."""
    if not _may_read_metrics(request):
        return HttpResponse(
            "Ask from this machine, or send ROLLCALL_METRICS_TOKEN as a bearer token.\n",
            status=403,
            content_type="text/plain",
        )
    # Not the global registry: it would count for one process. The database counts for all.
    registry = CollectorRegistry()
    registry.register(_Numbers())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _result_of(check: Callable[[], object]) -> str:
    try:
        check()
    except _Unready as reason:
        return str(reason)
    return "ok"


def _check_database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        _check_migrations()
    except DatabaseError:
        raise _Unready("can't be reached") from None


@lru_cache(maxsize=1)
def _check_migrations() -> None:
    """Cached once it succeeds: applied migrations stay applied while this process runs."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise _Unready("is not migrated")


def _check_broker() -> None:
    if not settings.REDIS_URL:
        _check_folder(Path(settings.BROKER_DIR) / "messages")
        return
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=REDIS_SECONDS, socket_timeout=REDIS_SECONDS
        ) as client:
            client.ping()
    except redis.RedisError:
        raise _Unready("can't be reached") from None


def _check_storage() -> None:
    if isinstance(default_storage, FileSystemStorage):
        _check_folder(Path(default_storage.location))
        return
    try:
        default_storage.exists("readyz")
    except Exception:  # noqa: BLE001  (every storage has errors of its own)
        raise _Unready("can't be reached") from None


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            room = shutil.disk_usage(folder).free
    except OSError:
        raise _Unready("can't be written") from None
    if room < DISK_BYTES:
        raise _Unready("is almost full")


@lru_cache(maxsize=1)
def _check_recogniser() -> None:
    """Cached once it succeeds, because hashing both model files takes a moment."""
    try:
        embedded.check_weights()
    except WeightsError:
        raise _Unready("has no model files, or not the expected ones") from None


def _check_work() -> None:
    late = timezone.now() - STALLED
    try:
        waits = (
            Photo.objects.filter(
                state__in=[PhotoState.NEW, PhotoState.QUEUED], after__lt=late
            ).exists()
            or Person.objects.filter(sync_state=SyncState.QUEUED, after__lt=late).exists()
        )
        if waits and not _moves_since(late):
            raise _Unready("waits, and no worker takes it")
    except DatabaseError:
        raise _Unready("not known") from None


def _check_vision() -> None:
    """Checks the cloud's circuit and credentials. Always "ok" without a cloud."""
    try:
        if cloud.circuit().phase is not Phase.CLOSED:
            raise _Unready("does not answer, and is tried again by itself")
        refused = cloud.credentials().phase is not Phase.CLOSED
        problem = cloud.problem()
    except DatabaseError:
        raise _Unready("not known") from None
    except ValueError:
        raise _Unready("has no valid address") from None
    if refused or (problem is not None and problem.final):
        raise _Unready("refuses the token: somebody has to act")


def _moves_since(late: datetime) -> bool:
    last = Call.objects.order_by("-pk").values_list("started_at", flat=True).first()
    return (last is not None and last >= late) or Photo.objects.filter(
        claimed_since(late), state__in=[PhotoState.PREPARING, PhotoState.RUNNING]
    ).exists()


def _may_read_metrics(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and settings.METRICS_TOKEN:
        return secrets.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    # Behind a local proxy, every request has a loopback address.
    forwarded = settings.TRUSTED_PROXIES or "X-Forwarded-For" in request.headers
    return not forwarded and _is_loopback(request.META.get("REMOTE_ADDR", ""))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


class _Numbers(Collector):
    """Metrics computed from the database on each scrape, so correct with any number of processes.

    Deleting history lowers counters, which Prometheus treats as a restart.
    """

    def collect(self) -> Iterator[Metric]:
        yield self._photos()
        yield GaugeMetricFamily(
            "rollcall_faces_unknown",
            "Faces that wait for a name.",
            # Trashed faces are never unknown, so this needs no trash filter and is index-only.
            value=Face.everything.unknown().count(),
        )
        yield from self._calls()
        yield self._ages()

    @staticmethod
    def _photos() -> Metric:
        photos = GaugeMetricFamily("rollcall_photos", "Photos by state.", labels=["state"])
        # Subtract trashed photos: each of the two counts is index-only, a filtered one is not.
        by_state = Photo.everything.order_by().values_list("state").annotate(count=Count("*"))
        everything = dict(by_state.iterator())
        trashed = dict(by_state.filter(trashed_at__isnull=False).iterator())
        for state in PhotoState.values:
            photos.add_metric([state], everything.get(state, 0) - trashed.get(state, 0))
        return photos

    @staticmethod
    def _calls() -> Iterator[Metric]:
        labels = ["method", "outcome"]
        calls = CounterMetricFamily("rollcall_calls", "Requests to Vision.", labels=labels)
        pictures = CounterMetricFamily("rollcall_call_images", "Images in them.", labels=labels)
        seconds = CounterMetricFamily("rollcall_call_seconds", "Time they took.", labels=labels)
        rows = (
            Call.objects.order_by()
            .values_list("method", "outcome")
            .annotate(count=Count("*"), images=Sum("image_count"), ms=Sum("duration_ms"))
        )
        for method, outcome, count, images, ms in rows:
            calls.add_metric([method, outcome], count)
            pictures.add_metric([method, outcome], images or 0)
            seconds.add_metric([method, outcome], (ms or 0) / 1000)
        yield from (calls, pictures, seconds)

    @staticmethod
    def _ages() -> Metric:
        """Age in seconds of the oldest due work of each queue; 0 if nothing is due."""
        now = timezone.now()
        photos = Photo.objects.filter(after__lte=now)
        people = Person.objects.filter(sync_state=SyncState.QUEUED, after__lte=now)
        oldest = {
            "prepare": photos.filter(state=PhotoState.NEW).aggregate(at=Min("after"))["at"],
            "recognise": photos.filter(state=PhotoState.QUEUED).aggregate(at=Min("after"))["at"],
            "enrol": people.aggregate(at=Min("after"))["at"],
        }
        ages = GaugeMetricFamily(
            "rollcall_queue_age_seconds", "Age of the oldest due work.", labels=["queue"]
        )
        for queue, at in oldest.items():
            ages.add_metric([queue], (now - at).total_seconds() if at else 0)
        return ages
