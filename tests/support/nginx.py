"""nginx with `deploy/nginx.conf`, on a free port, in front of a test's web service."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import ROOT, free_port, wait_until

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not there")


@dataclass(frozen=True)
class Nginx:
    port: int
    log: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_nginx(folder: Path, *, web: int, data: Path | None = None) -> Iterator[Nginx]:
    """Run nginx. `web` is the port of the service behind it, `data` that service's data folder."""
    found = Nginx(free_port(), folder / "error.log")
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    text = text.replace("http://web:8000", f"http://127.0.0.1:{web}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{found.port}")
    text = text.replace("/tmp/", f"{folder}/").replace("/dev/stderr", str(found.log))
    text = text.replace("alias /data/", f"alias {data or folder}/")
    if os.getuid() == 0:
        # Otherwise its workers would run as a user who can't read the data folder, which doesn't
        # happen in a container.
        text = f"user root;\n{text}"
    config = folder / "nginx.conf"
    config.write_text(text)
    command = ["nginx", "-p", str(folder), "-c", str(config), "-g", "daemon off;"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _listens(found.port), what="nginx to listen")
            yield found
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0
