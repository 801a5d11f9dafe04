"""Paths that accept files: their bodies may be large and slow, down to a minimum rate."""

from __future__ import annotations

import re

_UPLOADS = re.compile(
    r"/api/"  # the proxy
    r"|/t/[^/]+/g/[^/]+/upload$"
    r"|/t/[^/]+/spaces/[^/]+/snapshots/upload$"
    r"|/rest/teams/[^/]+/galleries/[^/]+/photos/$"
)


def takes_files(path: str) -> bool:
    """Whether `path`, the request target without its query, accepts files. Unknown paths don't."""
    return _UPLOADS.match(path) is not None
