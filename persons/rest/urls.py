"""Routes below /rest/."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from persons.rest.base import nothing_here
from persons.rest.views import galleries, photos, records, spaces, teams

app_name = "rest"

team_patterns = [
    path("", teams.OneTeam.as_view(), name="team"),
    path("members/", teams.Members.as_view(), name="members"),
    path("members/<int:pk>/", teams.OneMember.as_view(), name="member"),
    path("invitations/", teams.Invitations.as_view(), name="invitations"),
    path("invitations/<int:pk>/revoke/", teams.RevokeInvitation.as_view(), name="revoke"),
    path("galleries/", galleries.Galleries.as_view(), name="galleries"),
    path("galleries/<slug:slug>/", galleries.OneGallery.as_view(), name="gallery"),
    path("galleries/<slug:slug>/photos/", galleries.Photos.as_view(), name="photos"),
    path("photos/<int:pk>/", photos.OnePhoto.as_view(), name="photo"),
    path("photos/<int:pk>/recognise/", photos.RecognisePhoto.as_view(), name="recognise"),
    path("faces/<int:pk>/name/", photos.NameFace.as_view(), name="name"),
    path("faces/<int:pk>/reject/", photos.RejectPerson.as_view(), name="reject"),
    path("faces/<int:pk>/ignore/", photos.IgnoreFace.as_view(), name="ignore"),
    path("faces/<int:pk>/clear/", photos.ClearDecision.as_view(), name="clear"),
    path("spaces/", spaces.Spaces.as_view(), name="spaces"),
    path("spaces/<int:number>/", spaces.OneSpace.as_view(), name="space"),
    path("spaces/<int:number>/people/", spaces.People.as_view(), name="people"),
    path("spaces/<int:number>/people/<int:person_id>/", spaces.OnePerson.as_view(), name="person"),
    path(
        "spaces/<int:number>/people/<int:person_id>/enrolments/",
        spaces.Enrolments.as_view(),
        name="enrolments",
    ),
    path("enrolments/<int:pk>/remove/", spaces.RemoveEnrolment.as_view(), name="remove"),
    path("enrolments/<int:pk>/retry/", spaces.RetryEnrolment.as_view(), name="retry"),
    path("calls/", records.Calls.as_view(), name="calls"),
    path("calls/<int:pk>/", records.OneCall.as_view(), name="call"),
    path("audit/", records.Audit.as_view(), name="audit"),
]

urlpatterns = [
    path("teams/", teams.Teams.as_view(), name="teams"),
    path("teams/<slug:team>/", include(team_patterns)),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        "docs/",
        login_required(SpectacularSwaggerView.as_view(url_name="rest:schema")),
        name="docs",
    ),
    path("", nothing_here),
    path("<path:anything>", nothing_here),
]
