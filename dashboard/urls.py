"""The site's URL configuration. Each family of pages has its own."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from dashboard import redaction
from dashboard.pages import health
from dashboard.pages.account import urls as account
from dashboard.pages.audit import urls as audit
from dashboard.pages.galleries import urls as galleries
from dashboard.pages.history import urls as history
from dashboard.pages.people import urls as people
from dashboard.pages.photos import urls as photos
from dashboard.pages.privacy import urls as privacy
from dashboard.pages.public import urls as public
from dashboard.pages.review import urls as review
from dashboard.pages.spaces import urls as spaces
from dashboard.pages.team import urls as team
from persons.proxy import views as proxy
from persons.vision.types import Method

handler400 = "dashboard.clients.bad_request"
handler403 = "dashboard.pages.shared.permission_denied"
handler500 = "dashboard.clients.server_error"

# A family of pages is a folder of `dashboard.pages` with its own `urls`, and a line here.
team_patterns: list[URLPattern | URLResolver] = [
    *team.urlpatterns,
    *galleries.urlpatterns,
    *photos.urlpatterns,
    *people.urlpatterns,
    *review.urlpatterns,
    *spaces.urlpatterns,
    *history.urlpatterns,
    *audit.urlpatterns,
    *privacy.urlpatterns,
]

urlpatterns: list[URLPattern | URLResolver] = [
    *account.urlpatterns,
    path("t/<slug:team>/", include(team_patterns)),
    *public.urlpatterns,
    path("rest/", include("persons.rest.urls")),
    *(
        path(f"api/v1/persons/{method}", proxy.persons, {"method": method}, name=f"proxy_{method}")
        for method in map(str, Method)
    ),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]

redaction.learn(urlpatterns)
