"""/healthz, /readyz and /metrics, asked without signing in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from dashboard.pages import health
from persons.backends import embedded
from persons.engine.weights import WeightsError
from persons.models import Call, Photo, PhotoState, Space, SyncState, Team, User
from persons.models.calls import Outcome, Source
from tests.support import factories


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    yield
    health._check_migrations.cache_clear()
    health._check_recogniser.cache_clear()


def test_healthz_answers_without_the_database(client: Client) -> None:
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.content == b"ok\n"


@pytest.mark.django_db
def test_readyz_is_200_where_everything_is_there(client: Client) -> None:
    response = client.get("/readyz")
    assert response.json() == {
        "ready": True,
        "checks": {
            "database": "ok",
            "broker": "ok",
            "storage": "ok",
            "recogniser": "ok",
            "work": "ok",
            "vision": "ok",
        },
    }
    assert response.status_code == 200


@pytest.mark.django_db
def test_readyz_says_that_the_database_is_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise DatabaseError("could not connect to db.example.org with password hunter2")

    monkeypatch.setattr(connection, "cursor", refuse)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "can't be reached"
    assert response.json()["checks"]["work"] == "not known"
    assert b"hunter2" not in response.content


@pytest.mark.django_db
def test_readyz_says_that_a_migration_is_missing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "django.db.migrations.executor.MigrationExecutor.migration_plan", lambda *_: [object()]
    )
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "is not migrated"

    monkeypatch.undo()
    assert client.get("/readyz").status_code == 200


@pytest.mark.django_db
def test_readyz_says_that_redis_is_away(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["broker"] == "can't be reached"


@pytest.mark.django_db
def test_readyz_says_that_the_broker_folder_is_gone(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.REDIS_URL = ""
    settings.BROKER_DIR = tmp_path / "file"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["broker"] == "can't be written"


@pytest.mark.django_db
def test_readyz_says_that_storage_can_not_be_written(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(default_storage, "location", str(tmp_path / "file" / "media"))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["storage"] == "can't be written"


@pytest.mark.django_db
def test_readyz_says_that_the_disk_is_almost_full(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1024))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["storage"] == "is almost full"


@pytest.mark.django_db
def test_readyz_says_that_the_weights_are_missing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise WeightsError("the model /srv/models/face.onnx can't be read")

    monkeypatch.setattr(embedded, "check_weights", refuse)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "model files" in response.json()["checks"]["recogniser"]
    assert b"/srv" not in response.content


def test_readyz_tells_of_work_that_nobody_takes_and_stays_ready(client: Client, team: Team) -> None:
    late = timezone.now() - timedelta(minutes=5)
    photo = factories.PhotoFactory.create(state=PhotoState.QUEUED, after=late)
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["checks"]["work"] == "waits, and no worker takes it"

    # A worker is on another photo just now.
    factories.PhotoFactory.create(
        gallery=photo.gallery, state=PhotoState.RUNNING, claimed_at=timezone.now()
    )
    assert client.get("/readyz").json()["checks"]["work"] == "ok"


def test_readyz_finds_nothing_wrong_with_work_that_is_not_due(client: Client, team: Team) -> None:
    factories.PhotoFactory.create(
        state=PhotoState.QUEUED, after=timezone.now() + timedelta(minutes=5)
    )
    assert client.get("/readyz").json()["checks"]["work"] == "ok"


def test_readyz_tells_of_a_person_whom_nobody_enrols_until_a_call_is_made(
    client: Client, team: Team
) -> None:
    space = team.spaces.get(number=0)
    late = timezone.now() - timedelta(minutes=5)
    factories.PersonFactory.create(space=space, sync_state=SyncState.QUEUED, after=late)
    assert client.get("/readyz").json()["checks"]["work"] == "waits, and no worker takes it"

    make_call(space, "set", Outcome.RUNNING)
    assert client.get("/readyz").json()["checks"]["work"] == "ok"


def test_metrics_count_what_is_in_the_database(client: Client, team: Team) -> None:
    space = team.spaces.get(number=0)
    gallery = factories.GalleryFactory.create(team=team)
    done = factories.PhotoFactory.create(gallery=gallery)
    factories.PhotoFactory.create(
        gallery=gallery, state=PhotoState.QUEUED, after=timezone.now() - timedelta(seconds=90)
    )
    factories.FaceFactory.create(photo=done)
    factories.FaceFactory.create(photo=done, person=factories.PersonFactory.create(space=space))
    make_call(space, "recognize", Outcome.DONE, image_count=3, duration_ms=1500)
    make_call(space, "recognize", Outcome.DONE, image_count=2, duration_ms=500)
    make_call(space, "set", Outcome.REJECTED, image_count=1)

    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    numbers = parse(response.content.decode())
    assert numbers['rollcall_photos{state="done"}'] == 1
    assert numbers['rollcall_photos{state="queued"}'] == 1
    assert numbers['rollcall_photos{state="failed"}'] == 0
    assert numbers["rollcall_faces_unknown"] == 1
    assert numbers['rollcall_calls_total{method="recognize",outcome="done"}'] == 2
    assert numbers['rollcall_call_images_total{method="recognize",outcome="done"}'] == 5
    assert numbers['rollcall_call_seconds_total{method="recognize",outcome="done"}'] == 2
    assert numbers['rollcall_calls_total{method="set",outcome="rejected"}'] == 1
    assert 90 <= numbers['rollcall_queue_age_seconds{queue="recognise"}'] < 120
    assert numbers['rollcall_queue_age_seconds{queue="prepare"}'] == 0
    assert numbers['rollcall_queue_age_seconds{queue="enrol"}'] == 0


def test_metrics_name_nobody(client: Client, alice: User, team: Team) -> None:
    photo = factories.PhotoFactory.create(gallery__team=team, file_name="grandmother.jpg")
    factories.FaceFactory.create(
        photo=photo, person=factories.PersonFactory.create(label="Grandmother")
    )
    text = client.get("/metrics").content.decode().lower()
    for word in ("alice", "trip", "grandmother"):
        assert word not in text


def test_metrics_cost_the_same_few_queries_however_much_there_is(
    client: Client, team: Team, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    gallery = factories.GalleryFactory.create(team=team)
    factories.PhotoFactory.create_batch(5, gallery=gallery)
    with django_assert_max_num_queries(7):
        client.get("/metrics")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "header", "status"),
    [
        ("127.0.0.1", "", 200),
        ("127.8.9.1", "", 200),
        ("::1", "", 200),
        ("10.1.2.3", "", 403),
        ("", "", 403),  # through a Unix socket
        ("10.1.2.3", "Bearer s3cret", 200),
        ("10.1.2.3", "bearer s3cret", 200),
        ("10.1.2.3", "Bearer wrong", 403),
        ("10.1.2.3", "Bearer ", 403),
        ("10.1.2.3", "Basic s3cret", 403),
        ("10.1.2.3", "Bearer sécret", 403),
        ("127.0.0.1", "Bearer wrong", 403),
    ],
)
def test_metrics_are_for_this_machine_or_the_tokens_bearer(
    client: Client, settings: Settings, address: str, header: str, status: int
) -> None:
    settings.METRICS_TOKEN = "s3cret"
    headers = {"Authorization": header} if header else {}
    assert client.get("/metrics", REMOTE_ADDR=address, headers=headers).status_code == status


@pytest.mark.django_db
def test_an_empty_token_opens_nothing(client: Client) -> None:
    assert django_settings.METRICS_TOKEN == ""
    response = client.get("/metrics", REMOTE_ADDR="10.1.2.3", headers={"Authorization": "Bearer "})
    assert response.status_code == 403


@pytest.mark.django_db
def test_metrics_do_not_take_a_proxy_on_this_machine_for_its_own_people(
    client: Client, settings: Settings
) -> None:
    settings.TRUSTED_PROXIES = 1
    assert client.get("/metrics", REMOTE_ADDR="127.0.0.1").status_code == 403
    settings.TRUSTED_PROXIES = 0
    response = client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
    assert response.status_code == 403


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_nothing_can_be_posted(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.django_db
def test_checks_are_answered_without_https_and_under_any_of_this_machines_names(
    client: Client, settings: Settings, path: str
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
        assert client.get(path, headers={"Host": host}).status_code == 200


def make_call(space: Space, method: str, outcome: Outcome, **columns: object) -> Call:
    return Call.objects.create(
        team=space.team,
        space=space,
        method=method,
        source=Source.WORKER,
        backend="embedded",
        outcome=outcome,
        **columns,
    )


def parse(text: str) -> dict[str, float]:
    lines = re.findall(r"^(rollcall_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_the_photo_states_are_all_there(client: Client, db: None) -> None:
    numbers = parse(client.get("/metrics").content.decode())
    assert {f'rollcall_photos{{state="{state}"}}' for state in PhotoState.values} <= set(numbers)
    assert not Photo.objects.exists()
