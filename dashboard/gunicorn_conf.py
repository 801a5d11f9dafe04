"""gunicorn's configuration, on one machine (`manage.py up`) and on a team's server
(docker-compose.yml).

Command-line options take precedence.
"""

from __future__ import annotations

from typing import Any

from dashboard.env import env_int
from dashboard.modes import UMASK
from dashboard.redaction import install
from dashboard.supervisor import die_with_parent

# Buffers requests and answers, so that no thread waits for a slow client: `dashboard.front`.
worker_class = "dashboard.front.worker.FrontWorker"
workers = env_int("ROLLCALL_WEB_PROCESSES", 2, minimum=1)
threads = env_int("ROLLCALL_WEB_THREADS", 8, minimum=1)
# Applies to the process, whose loop sends heartbeats: a slow machine that also runs recognition
# needs patience.
timeout = 120
graceful_timeout = 2
# Files written by workers are readable by this account alone: `dashboard.modes`.
umask = UMASK
keepalive = 5
# Deadline for clients: see `dashboard.front.exchange.Patience`.
patience = env_int("ROLLCALL_CLIENT_SECONDS", 30, minimum=1)
# The control socket lies in the home folder, for a tool that is not used here.
control_socket_disable = True


# gunicorn quotes request lines that can't be parsed, with any key or token in them.
install()


def post_fork(server: Any, worker: Any) -> None:
    die_with_parent(server.pid)
    worker.client_seconds = patience


def post_worker_init(worker: Any) -> None:
    from django.conf import settings

    worker.spool_folder = settings.FILE_UPLOAD_TEMP_DIR
