"""Web, worker and beat of one machine: started, watched and ended together."""

from __future__ import annotations

import fcntl
import http.client
import os
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor

from dashboard.env import env_int
from dashboard.supervisor import Program, Supervisor
from persons.pipeline import release_claims

HOST = "127.0.0.1"
QUICK_FALLS = 2
COLOURS = {"web": "36", "worker": "33", "beat": "35"}


class Command(BaseCommand):
    help = "Runs Rollcall on this machine: web, worker and beat, until Ctrl-C stops all of it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="Instead of $PORT, else 8000.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            port = options["port"] or env_int("PORT", 8000, minimum=1)
            workers = env_int("ROLLCALL_WORKERS", 2, minimum=1)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        address = f"http://{HOST}:{port}/"
        with _only_one(address), _listening(port) as listener:
            _demand_migrations()
            if not (Path(settings.STATIC_ROOT) / "staticfiles.json").exists():
                self._say("", "Pages have no style yet: run manage.py collectstatic.")
            # Every worker that this folder has had died with the last `up`.
            self._put_back_claims()
            has_demo = get_user_model().objects.filter(username="demo").exists()
            connections.close_all()
            verbose = options["verbosity"] > 1
            programs = _programs(listener, workers, self._worker_fell, verbose=verbose)
            threading.Thread(
                target=self._greet, args=(port, address, has_demo), daemon=True
            ).start()
            Supervisor(programs, say=self._say).run()
        self._say("", "Rollcall has stopped.")

    def _worker_fell(self, falls: int) -> None:
        """What it was at goes on at once, and not after its lease.

        But for a worker that falls again and again: what it was at may be what kills it, and only a
        lease that has run out is counted against a photo.
        """
        if falls <= QUICK_FALLS:
            try:
                self._put_back_claims()
            except DatabaseError as error:
                self._say("", f"Work that was cut off goes on later: {error}")
            finally:
                connections.close_all()

    def _put_back_claims(self) -> None:
        """Only where the broker is the data folder: Redis may serve other machines' workers."""
        if settings.REDIS_URL:
            return
        if count := release_claims(everything=True):
            self._say("", f"Work that was cut off goes on ({count}).")

    def _greet(self, port: int, address: str, has_demo: bool) -> None:
        """Say how to get in, once somebody can."""
        while not _answers(port):
            time.sleep(0.2)
        manage = f"{_shown(sys.executable)} manage.py"
        lines = ["", f"Rollcall is at {address}"]
        if has_demo:
            lines.append(
                "Sign in as demo, with the password that was printed when it was made. "
                f"A new one: {manage} changepassword demo"
            )
        if "create_api_key" in get_commands():
            lines.append(f"An API key: {manage} create_api_key --team demo --name laptop")
        lines += ["Ctrl-C stops everything.", ""]
        self._say("", "\n".join(lines))

    def _say(self, name: str, line: str) -> None:
        prefix = f"{name:<6} | " if name else ""
        if prefix and self.style.SUCCESS("") and self.stdout.isatty():
            prefix = f"\033[{COLOURS.get(name, '0')}m{prefix}\033[0m"
        # A terminal that went away must not keep the children from being stopped.
        with suppress(OSError, ValueError):
            self.stdout.write(prefix + line)
            self.stdout.flush()


@contextmanager
def _only_one(address: str) -> Iterator[None]:
    """Hold this data folder's lock, which the kernel gives back however this process ends."""
    path = Path(settings.DATA_DIR) / "up.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = file.read().strip() or "another process"
            raise CommandError(
                f"Rollcall runs already with the data in {settings.DATA_DIR}: {other}. "
                "Stop that one, or set ROLLCALL_DATA to another folder."
            ) from None
        file.truncate(0)
        file.write(f"{address} (process {os.getpid()})")
        file.flush()
        yield


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """The socket that gunicorn gets: bound before anything is started, and open while gunicorn
    starts again, so that a request waits instead of failing."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(512)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "that is no port"
            raise CommandError(
                f"Can't listen on {HOST}:{port}: {reason}. Choose another port: PORT=8001."
            ) from None
        yield listener


def _demand_migrations() -> None:
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise CommandError(f"The database can't be used: {error}") from None
    if missing:
        raise CommandError("The database is not up to date: run manage.py migrate first.")


def _programs(
    listener: socket.socket,
    workers: int,
    worker_fell: Callable[[int], None],
    *,
    verbose: bool,
) -> list[Program]:
    level = "INFO" if verbose else "WARNING"
    env = {"ROLLCALL_LOG_LEVEL": level, **os.environ, "PYTHONUNBUFFERED": "1"}
    # What Celery tells root is about pickled messages, of which there are none.
    quiet = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges"}
    celery = [sys.executable, "-m", "celery", "-A", "dashboard", "-q"]
    web = [
        *(sys.executable, "-m", "gunicorn", "dashboard.wsgi"),
        *("--config=python:dashboard.gunicorn_conf", f"--bind=fd://{listener.fileno()}"),
        f"--log-level={level.lower()}",
    ]
    worker = [
        *(*celery, "worker", "--pool=threads", f"--concurrency={workers}", f"--loglevel={level}"),
        # Nobody else is on this broker.
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]
    beat = [*celery, "beat", f"--loglevel={level}", "--pidfile="]
    cwd = str(settings.BASE_DIR)
    return [
        Program("web", web, env, cwd, fds=(listener.fileno(),)),
        Program("worker", worker, quiet | env, cwd, on_fall=worker_fell),
        Program("beat", beat, env, cwd),
    ]


def _answers(port: int) -> bool:
    web = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        web.request("GET", "/healthz")
        return web.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        web.close()


def _shown(path: str) -> str:
    """As somebody in the project's folder would type it."""
    with suppress(ValueError):
        return str(Path(path).relative_to(settings.BASE_DIR))
    return path
