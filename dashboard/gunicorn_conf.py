"""How gunicorn serves, on one machine (`manage.py up`) and on a team's server (docker-compose.yml).

Command-line options go before these.
"""

from __future__ import annotations

import logging
import re
import socket
import struct
from typing import Any

from dashboard.env import env_int
from dashboard.supervisor import die_with_parent

worker_class = "gthread"
workers = env_int("ROLLCALL_WEB_PROCESSES", 2, minimum=1)
threads = env_int("ROLLCALL_WEB_THREADS", 8, minimum=1)
# A thread may take as long as an upload does. What must be heard of in time is the process; a slow
# machine that recognises at the same time needs patience.
timeout = 120
graceful_timeout = 2
keepalive = 5
# Seconds without a byte from a client in the middle of a request: one whose network is gone would
# else hold a thread for good.
patience = env_int("ROLLCALL_CLIENT_SECONDS", 30, minimum=1)
# A socket in the home folder, for a tool that is not used here.
control_socket_disable = True


_KEY = re.compile(r"(oauth(?:_|%5f)token=)[^&\s'\"]+", re.IGNORECASE)


def without_keys(record: logging.LogRecord) -> bool:
    """A request line that can't be parsed is quoted, with the key of whoever sent it."""
    record.msg, record.args = _KEY.sub(r"\1***", record.getMessage()), ()
    return True


def post_fork(server: Any, worker: Any) -> None:
    die_with_parent(server.pid)
    worker.log.error_log.addFilter(without_keys)
    # What it accepts inherits this. gunicorn's own timeouts are for processes, not for clients.
    seconds = struct.pack("ll", patience, 0)
    for listener in worker.sockets:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
