"""Addresses of recognition history, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.history import call, chart, evidence, history

urlpatterns = [
    *history.urlpatterns,
    *call.urlpatterns,
    *chart.urlpatterns,
    *evidence.urlpatterns,
]
