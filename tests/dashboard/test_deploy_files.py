"""Dockerfile, compose and nginx files: valid by their own tools, and consistent with the project.

Their commands run here natively, on PostgreSQL and Redis.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets as random
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import yaml

from tests.support.nginx import needs_nginx, running_nginx
from tests.support.processes import (
    PATIENCE,
    ROOT,
    child_environment,
    end_with_tests,
    free_port,
    processes_of,
    wait_until,
)
from tests.support.wire import envelope

BIN = Path(sys.executable).parent
COMPOSE = ["docker-compose.yml", "docker-compose.nginx.yml"]
OWN = {"migrate", "web", "worker", "beat"}


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return content


def services(name: str = "docker-compose.yml") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load(name)["services"]
    return found


def interpolated(word: str) -> str:
    """As compose reads it where nothing is set: defaults for variables, `$$` for `$`."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word).replace("$$", "$")


# --- The files ---


@pytest.mark.processes
@pytest.mark.parametrize("name", COMPOSE)
def test_a_compose_file_follows_the_specification(name: str) -> None:
    checker = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", name]
    result = subprocess.run(checker, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.processes
def test_the_dockerfile_has_no_lint() -> None:
    hadolint = BIN / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint has no wheel for this machine")
    result = subprocess.run(
        [str(hadolint), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_image_gets_only_what_is_there_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    assert set(copied) == allowed
    assert all((ROOT / source).exists() for source in copied)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in {"root", "0"}
    assert any(line.startswith("HEALTHCHECK ") and "/healthz" in line for line in lines)


def test_every_name_in_the_compose_file_stands_for_something() -> None:
    content = load("docker-compose.yml")
    for name, service in content["services"].items():
        assert set(service.get("secrets", ())) <= set(content["secrets"]), name
        assert set(service.get("depends_on", ())) <= set(content["services"]), name
        assert set(service.get("networks", ())) <= set(content["networks"]), name
        for mount in service.get("volumes", ()):
            assert mount.partition(":")[0] in content["volumes"], name
    # What is not built here has a version.
    images = [s["image"] for s in content["services"].values() if "build" not in s]
    assert all(re.search(r":\d", image) for image in images)
    extra = services("docker-compose.nginx.yml")
    assert set(extra) - {"nginx"} <= set(content["services"])


def test_redis_has_a_password_and_is_reached_by_rollcall_alone() -> None:
    content = load("docker-compose.yml")
    assert content["networks"]["broker"] == {"internal": True}
    there = {
        name for name, service in services().items() if "broker" in service.get("networks", ())
    }
    assert there == OWN | {"redis"}
    redis = services()["redis"]
    assert redis["networks"] == ["broker"]
    assert "ports" not in redis
    assert not set(services()["postgres"]["networks"]) & set(redis["networks"])


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not there")
def test_redis_asks_for_its_password(tmp_path: Path) -> None:
    """By the compose file's own command and check of health."""
    port = free_port()
    (tmp_path / "redis_password").write_text("not-the-real-one")

    def here(word: str) -> str:
        word = interpolated(word).replace("/run/secrets/", f"{tmp_path}/")
        return word.replace("/tmp/redis.conf", f"{tmp_path}/redis.conf")

    command = [here(word) for word in services()["redis"]["command"]]
    command[-1] += f" --port {port} --bind 127.0.0.1 --dir {tmp_path}"
    check = here(services()["redis"]["healthcheck"]["test"][1])
    check = check.replace("redis-cli", f"redis-cli -p {port}")

    def is_healthy(text: str) -> bool:
        return subprocess.run(["sh", "-c", text], check=False, capture_output=True).returncode == 0

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_healthy(check), what="Redis to be healthy")
            assert not is_healthy(check.replace("$(cat", "$(: "))
            shown = (Path("/proc") / str(process.pid) / "cmdline").read_bytes()
            assert b"redis-server" in shown
            assert b"not-the-real-one" not in shown
        finally:
            process.terminate()


def test_no_secret_stands_in_the_compose_file() -> None:
    for name in COMPOSE:
        for service in services(name).values():
            for variable, value in service.get("environment", {}).items():
                if re.search(r"PASSWORD|SECRET|TOKEN|DATABASE_URL|REDIS_URL", variable):
                    assert variable.endswith("_FILE")
                    assert value.startswith("/run/secrets/")


def test_own_containers_can_not_write_but_to_their_data() -> None:
    for name in OWN:
        service = services()[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["volumes"] == ["data:/data"]


@pytest.mark.processes
def test_make_secrets_makes_what_compose_mounts_and_never_makes_it_anew(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "make-secrets.sh", tmp_path / "deploy")

    def made() -> dict[str, str]:
        subprocess.run(
            ["sh", "deploy/make-secrets.sh"], cwd=tmp_path, check=True, capture_output=True
        )
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    first = made()
    wanted = {Path(s["file"]).name for s in load("docker-compose.yml")["secrets"].values()}
    assert set(first) == wanted
    assert len(first["secret_key"]) == 50
    assert first["postgres_password"] in first["database_url"]
    assert first["redis_password"] in first["redis_url"]
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert made() == first


# --- The commands ---


@pytest.fixture
def empty_database() -> Iterator[str]:
    """The URL of a database that only this test has."""
    server = os.environ["DATABASE_URL"]
    name = f"rollcall_deploy_{random.token_hex(4)}"
    parts = urlsplit(server)
    with psycopg.connect(urlunsplit(parts._replace(path="/postgres")), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlunsplit(parts._replace(path=f"/{name}"))
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.processes
@pytest.mark.services("postgresql", "redis")
def test_the_commands_of_image_and_compose_file_run_here(
    empty_database: str, tmp_path: Path
) -> None:
    # As compose sets it: secrets in files, the rest as it stands in the file.
    files = {
        "database_url": empty_database,
        "redis_url": os.environ["REDIS_URL"],
        "secret_key": random.token_urlsafe(48),
        "audit_key": random.token_urlsafe(48),
        "metrics_token": "numbers",
    }
    for name, value in files.items():
        (tmp_path / name).write_text(value)
    given = {
        variable: interpolated(value).replace("/run/secrets/", f"{tmp_path}/")
        for variable, value in services()["web"]["environment"].items()
    }
    env = child_environment(
        **given
        | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOSTNAME": socket.gethostname(),
            "ROLLCALL_DATA": str(tmp_path / "data"),
            "ROLLCALL_REDIS_PREFIX": f"rollcall-deploy-{random.token_hex(4)}:",
        }
    )
    del env["DATABASE_URL"], env["REDIS_URL"]
    migrate = subprocess.run(
        [interpolated(word) for word in services()["migrate"]["command"]],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert migrate.returncode == 0, migrate.stdout + migrate.stderr

    port = free_port()
    served = re.search(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert served is not None
    web = [word.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for word in yaml.safe_load(served[1])]
    commands = [web, *([*map(interpolated, services()[n]["command"])] for n in ("worker", "beat"))]
    with running(commands, env, tmp_path / "log") as log:
        wait_until(lambda: get(port, "/healthz") == (200, "ok\n"), what="the web")
        status, text = get(port, "/readyz")
        assert status == 200, text
        assert get(port, "/login/")[0] == 200
        assert get(port, "/metrics", token="numbers")[0] == 200
        wait_until(
            lambda: " ready." in log.read_text() and "beat: Starting..." in log.read_text(),
            what="worker and beat",
        )
        # Beat's message reaches the worker.
        wait_until(
            lambda: "persons.tasks.sweep" in log.read_text().partition(" ready.")[2],
            what="a sweep",
        )
        kind, command = services()["worker"]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        healthy = subprocess.run(
            ["sh", "-c", interpolated(command)],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert not processes_of(tmp_path / "data")
    assert "Traceback" not in log.read_text()


@contextmanager
def running(commands: list[list[str]], env: dict[str, str], log: Path) -> Iterator[Path]:
    """All of them, until the block ends; then each ends by SIGTERM within its grace period."""
    with log.open("wb") as out:
        started = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=end_with_tests(),  # noqa: PLW1509
            )
            for command in commands
        ]
    try:
        yield log
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(timeout=10)
    finally:
        for process in started:
            process.kill()
            process.wait()


def get(port: int, path: str, token: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@needs_nginx
@pytest.mark.processes
def test_nginx_writes_no_clients_key_into_its_log(tmp_path: Path) -> None:
    """Where the web service is away, which is the kind of error that is logged with its request;
    nor a link's or an invitation's token."""
    said: dict[str, bytes] = {}
    with running_nginx(tmp_path, web=free_port()) as nginx:
        for path in (
            "/api/v1/persons/set?oauth_token=the-key",
            "/t/trip/reason/",
            "/s/the-key/",
            "/join/the-key/",
            "/login/?next=/join/the-key/",
        ):
            link = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=PATIENCE)
            link.request("POST", path, b"x" * 100)
            answer = link.getresponse()
            assert answer.status == 502
            said[path[:5]] = answer.read()
            link.close()
    assert json.loads(said["/api/"]) == envelope(500, "Rollcall is away, try again")
    assert b"<html>" in said["/t/tr"]
    log = nginx.log.read_text()
    assert "/t/trip/reason/" in log and "the-key" not in log
