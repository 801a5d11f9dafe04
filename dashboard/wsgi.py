"""What gunicorn serves."""

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


def _settle_in() -> None:
    """Load what the first requests would have to wait for, and tell the collector that it stays.

    Else every full collection of garbage looks at all of it, which takes a tenth of a second in the
    midst of somebody's request. It also looks more rarely: a page of many photos is made of more
    objects than the thresholds that Python comes with, and nearly all go by themselves.
    """
    assert get_resolver().url_patterns
    folder = Path(settings.BASE_DIR) / "templates"
    for path in sorted(folder.rglob("*.html")):
        get_template(str(path.relative_to(folder)))
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)


_settle_in()
