"""Addresses of the audit log, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.audit import log

urlpatterns = [
    *log.urlpatterns,
]
