"""The WSGI application that gunicorn serves."""

import gc
import os
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.template.loader import get_template
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
application = get_wsgi_application()

COLLECT_AFTER = 5_000


def _preload_and_freeze() -> None:
    """Preload what the first requests need, and exclude it from garbage collection.

    Otherwise every full collection scans all of it, which takes a tenth of a second during
    somebody's request. Collections are also made rarer: a page of many photos creates more objects
    than Python's default thresholds, and nearly all are freed without the collector.
    """
    assert get_resolver().url_patterns
    folder = Path(settings.BASE_DIR) / "templates"
    for path in sorted(folder.rglob("*.html")):
        get_template(str(path.relative_to(folder)))
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)


_preload_and_freeze()
