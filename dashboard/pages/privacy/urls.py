"""Addresses of privacy: rights, erasures and reasons, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.privacy import erasures, privacy, reasons

urlpatterns = [
    *privacy.urlpatterns,
    *erasures.urlpatterns,
    *reasons.urlpatterns,
]
