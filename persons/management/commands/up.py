"""Runs web, worker and beat on one machine: starts, supervises and stops them together."""

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

from dashboard.broker import delete_obsolete_messages
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
                self._print("", "Pages have no style yet: run manage.py collectstatic.")
            # No worker of this data folder can be alive: they died with the last `up`.
            self._put_back_claims()
            if count := delete_obsolete_messages(settings.BROKER_DIR / "messages"):
                what = f"{count} messages of an earlier version were dropped"
                self._print("", f"{what}: the work they were about is in the database.")
            has_demo = get_user_model().objects.filter(username="demo").exists()
            connections.close_all()
            verbose = options["verbosity"] > 1
            programs = _programs(listener, workers, self._worker_fell, verbose=verbose)
            threading.Thread(
                target=self._greet, args=(port, address, has_demo), daemon=True
            ).start()
            Supervisor(programs, say=self._print).run()
        self._print("", "Rollcall has stopped.")

    def _worker_fell(self, falls: int) -> None:
        """Release a dead worker's claims at once, without waiting for their leases to expire.

        Not after repeated deaths: the claimed work may be what kills the worker, and only an
        expired lease counts as an interruption of a photo.
        """
        if falls <= QUICK_FALLS:
            try:
                self._put_back_claims()
            except DatabaseError as error:
                self._print("", f"Work that was cut off goes on later: {error}")
            finally:
                connections.close_all()

    def _put_back_claims(self) -> None:
        """Release all claims, unless the broker is Redis.

        With Redis, workers on other machines may hold some of them.
        """
        if settings.REDIS_URL:
            return
        if count := release_claims(everything=True):
            self._print("", f"Work that was cut off goes on ({count}).")

    def _greet(self, port: int, address: str, has_demo: bool) -> None:
        """Print the address and how to sign in once the web server answers."""
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
        self._print("", "\n".join(lines))

    def _print(self, name: str, line: str) -> None:
        prefix = f"{name:<6} | " if name else ""
        if prefix and self.style.SUCCESS("") and self.stdout.isatty():
            prefix = f"\033[{COLOURS.get(name, '0')}m{prefix}\033[0m"
        # A closed terminal must not prevent the children from being stopped.
        with suppress(OSError, ValueError):
            self.stdout.write(prefix + line)
            self.stdout.flush()


@contextmanager
def _only_one(address: str) -> Iterator[None]:
    """Hold the data folder's lock, which the kernel releases however this process ends.

    Raises CommandError if another process holds it.
    """
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
    """The listening socket that gunicorn inherits. Raises CommandError if the port is unusable.

    It is bound before any program starts and stays open while gunicorn restarts, so that requests
    wait instead of failing.
    """
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
    # Celery's warning to root is about pickled messages, which Rollcall doesn't use.
    quiet = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges"}
    celery = [sys.executable, "-m", "celery", "-A", "dashboard", "-q"]
    web = [
        *(sys.executable, "-m", "gunicorn", "dashboard.wsgi"),
        *("--config=python:dashboard.gunicorn_conf", f"--bind=fd://{listener.fileno()}"),
        f"--log-level={level.lower()}",
    ]
    worker = [
        *(*celery, "worker", "--pool=threads", f"--concurrency={workers}", f"--loglevel={level}"),
        # There are no other workers on this broker.
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
    """The path relative to the project's folder, if it is inside."""
    with suppress(ValueError):
        return str(Path(path).relative_to(settings.BASE_DIR))
    return path
