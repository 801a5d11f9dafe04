"""A second installation of Rollcall, with its own database and data folder."""

from __future__ import annotations

import http.client
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from persons.backends import cloud
from persons.vision.tokens import Secret
from tests.support import migrated
from tests.support.misbehaving import Behaviour, Misbehaving, message
from tests.support.processes import ROOT, child_environment
from tests.support.wire import Gunicorn

MAKE_TEAM = """
from persons.actions.teams import create_team
from persons.audit import Actor
from persons.models import User
owner = User.objects.create_user("owner")
create_team(actor=Actor.command("tests"), name="Branch", owner=owner, slug="branch")
from django.core.management import call_command
call_command("create_api_key", "--team=branch", "--name=The first Rollcall")
"""


@dataclass(frozen=True)
class Second:
    """The second instance: its address, an API key for it, and its database."""

    address: str
    key: str
    database: Path

    def one(self, sql: str) -> int:
        link = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            value: int | None = link.execute(sql).fetchone()[0]
            return value or 0
        finally:
            link.close()

    @property
    def images(self) -> int:
        """The number of images that it was ever sent, by its history and its meter."""
        counted = self.one("SELECT SUM(image_count) FROM persons_call")
        assert counted == self.one("SELECT SUM(images) FROM persons_meter")
        assert counted == self.one(
            "SELECT COUNT(*) FROM persons_recognition r JOIN persons_call c ON c.id = r.call_id "
            "WHERE c.method IN ('set', 'recognize')"
        )
        return counted

    @property
    def known(self) -> int:
        """The number of face embeddings that it knows."""
        return self.one("SELECT COUNT(*) FROM persons_engineembedding")


@pytest.fixture(scope="module")
def second(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Second]:
    """The second instance, with its own folder, database, team and key, run by gunicorn."""
    folder = tmp_path_factory.mktemp("second")
    database = folder / "rollcall.sqlite3"
    url = f"sqlite:///{database}"
    environment = child_environment(ROLLCALL_DATA=str(folder), DATABASE_URL=url, REDIS_URL="")

    def manage(*words: str) -> str:
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    if not migrated.take(request.config, database):
        manage("migrate", "--verbosity=0")
    key = manage("shell", "--verbosity=0", "-c", MAKE_TEAM)
    with Gunicorn(folder, database=url, threads=4, REDIS_URL="") as served:
        yield Second(served.address, key, database)


def relayed(address: str, *, lost: bool = False) -> Behaviour:
    """Relay a request to the server at `address`; with `lost` its answer is dropped."""

    def run(server: Misbehaving, connection: socket.socket) -> None:
        asked = server.received[-1]
        link = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        try:
            headers = {"Content-Type": asked.headers["content-type"]}
            link.request(asked.method, asked.target, asked.body, headers)
            got = link.getresponse()
            body = got.read()
        finally:
            link.close()
        if not lost:
            connection.sendall(message(body, got.status))

    return run


@pytest.fixture
def line(second: Second, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The first instance's connection to the second, as a server that can misbehave."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with Misbehaving(relayed(second.address)) as server:
        settings.VISION_URL, settings.VISION_TOKEN = server.url, Secret(second.key)
        cloud.cloud.cache_clear()
        yield server
    cloud.cloud.cache_clear()
