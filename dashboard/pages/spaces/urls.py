"""Addresses of spaces and the connection to Vision, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.spaces import connection, spaces

urlpatterns = [
    *spaces.urlpatterns,
    *connection.urlpatterns,
]
