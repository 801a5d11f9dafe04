"""Addresses of galleries, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.galleries import galleries, grid, selection, share, trash, uploads

urlpatterns = [
    *galleries.urlpatterns,
    *grid.urlpatterns,
    *selection.urlpatterns,
    *share.urlpatterns,
    *trash.urlpatterns,
    *uploads.urlpatterns,
]
