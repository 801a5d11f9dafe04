"""Every address of the site. Each module of pages carries its own, below /t/<team>/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from dashboard.pages import (
    account,
    audit,
    connection,
    enrolments,
    erasures,
    evidence,
    faces,
    galleries,
    grid,
    groups,
    health,
    history,
    history_chart,
    keys,
    media,
    merging,
    names,
    overview,
    people,
    person,
    person_changes,
    person_deeds,
    person_report,
    person_rights,
    photos,
    privacy,
    public,
    reasons,
    review,
    selection,
    share,
    spaces,
    team,
    trash,
    uploads,
    usage,
)
from persons.proxy import views as proxy
from persons.vision.types import Method

handler400 = "dashboard.clients.bad_request"
handler403 = "dashboard.pages.shared.permission_denied"
handler500 = "dashboard.clients.server_error"

team_patterns: list[URLPattern | URLResolver] = [
    *overview.urlpatterns,
    *galleries.urlpatterns,
    *grid.urlpatterns,
    *selection.urlpatterns,
    *share.urlpatterns,
    *trash.urlpatterns,
    *uploads.urlpatterns,
    *photos.urlpatterns,
    *faces.urlpatterns,
    *people.urlpatterns,
    *person.urlpatterns,
    *person_changes.urlpatterns,
    *person_deeds.urlpatterns,
    *person_report.urlpatterns,
    *person_rights.urlpatterns,
    *merging.urlpatterns,
    *enrolments.urlpatterns,
    *erasures.urlpatterns,
    *names.urlpatterns,
    *review.urlpatterns,
    *groups.urlpatterns,
    *spaces.urlpatterns,
    *history.urlpatterns,
    *history_chart.urlpatterns,
    *evidence.urlpatterns,
    *reasons.urlpatterns,
    *audit.urlpatterns,
    *privacy.urlpatterns,
    *team.urlpatterns,
    *keys.urlpatterns,
    *usage.urlpatterns,
    *connection.urlpatterns,
    *media.urlpatterns,
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", account.home, name="home"),
    path("login/", account.SignIn.as_view(), name="login"),
    path("logout/", account.SignOut.as_view(), name="logout"),
    path("account/", account.own_account, name="account"),
    path("join/<str:token>/", team.join, name="join"),
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
