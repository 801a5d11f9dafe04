"""Addresses of public links."""

from __future__ import annotations

from dashboard.pages.public import downloads, public

urlpatterns = [*public.urlpatterns, *downloads.urlpatterns]
