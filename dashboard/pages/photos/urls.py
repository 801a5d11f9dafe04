"""Addresses of photos, faces and pictures, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.photos import faces, media, photos

urlpatterns = [
    *photos.urlpatterns,
    *faces.urlpatterns,
    *media.urlpatterns,
]
