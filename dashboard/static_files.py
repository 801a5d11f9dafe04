"""Static files: hashed names for deployment, and the modules that a module imports."""

import functools
import posixpath
import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from whitenoise.storage import CompressedManifestStaticFilesStorage

IMPORTED = re.compile(r"""^(?:import|\} from)\b[^;"]*"(\.[^"]+)";""", re.MULTILINE)

# Django's patterns for `import` and `export … from`.
_, IMPORTS = CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns


class ModuleStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # it ships no types
    """Rewrites `import … from "./x.js"` to the hashed name, so that a module is loaded once.

    Imports may not form a cycle: a file's hash is made of its contents, with the names in it.
    Scripts of other packages are left alone: Django's own switch would look for files that their
    bundles only seem to import.
    """

    patterns: Any = (*CompressedManifestStaticFilesStorage.patterns, ("js/*.js", IMPORTS))
    # A chain of imports takes a pass for each of its links.
    max_post_process_passes = 10


def imports_of(name: str) -> tuple[str, ...]:
    """The modules that a module of ours imports, directly or not, those nearest to it first."""
    found = {name: None}
    waiting = [name]
    for one in waiting:
        for other in _imported_by(one):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return tuple(found)[1:]


@functools.cache
def _read(name: str) -> tuple[str, ...]:
    path = finders.find(name)
    text = Path(path).read_text() if isinstance(path, str) else ""
    folder = posixpath.dirname(name)
    return tuple(posixpath.normpath(f"{folder}/{one}") for one in IMPORTED.findall(text))


def _imported_by(name: str) -> tuple[str, ...]:
    # Files change only while somebody develops.
    return _read.__wrapped__(name) if settings.DEBUG else _read(name)
