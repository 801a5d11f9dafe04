"""Addresses of the team: overview, members, keys, usage, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.team import keys, members, overview, usage

urlpatterns = [
    *overview.urlpatterns,
    *members.urlpatterns,
    *keys.urlpatterns,
    *usage.urlpatterns,
]
