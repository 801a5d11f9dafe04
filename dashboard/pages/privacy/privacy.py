"""Pages about a team's privacy rules: legal holds, consents and retention."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    page_by_key,
    refuse,
    signed_in,
)
from persons import access
from persons.access import Right, gallery_for, hold_for, rights_of, team_for
from persons.actions.holds import hold_gallery, release_hold
from persons.actions.retention import MOST_DAYS, Rules, change_retention
from persons.errors import Refused
from persons.inputs.params import NotUnderstood
from persons.models import Consent, Gallery, Person, RetentionRun, Space, Team
from persons.pipeline.privacy.retention import preview
from persons.privacy import consent

PAGE = 40
SOON = timedelta(days=30)
MOST = 50
"""Maximum holds, consent expiries and runs shown."""
MOST_GALLERIES = 500

WORDS = {
    "probes": ("picture", "that clients asked about", "kept since"),
    "unknown": ("face", "without a name: crop, looks and attributes", "found"),
    "history": ("call", "what was asked of Vision and answered", "made"),
    "trash": ("photo", "in the trash", "thrown away"),
}


FOREVER = "no limit"
FIELDS = {
    "probe_days": (
        "Pictures that clients asked about",
        "Kept only where the team has turned that on. The digest and the answer stay.",
        FOREVER,
    ),
    "unknown_days": (
        "Looks of faces without a name",
        (
            "Crop, attributes and what the recogniser noted of them go. The box stays, so that "
            "counts stay true; such faces are not put into groups any more. Their photos stay."
        ),
        FOREVER,
    ),
    "history_days": (
        "What was asked of Vision and answered",
        (
            "Of each call stay who asked, when, from where, by which method, with what outcome, "
            "the pictures' digests and the counts. Evidence of older recognitions can't be shown "
            "then."
        ),
        FOREVER,
    ),
    "trash_days": (
        "Photos in the trash",
        "After that nobody can take them back.",
        "",
    ),
}
"""For each setting: label, effect, and the meaning of an empty value."""


class RulesForm(forms.Form):
    """Retention in days by kind; empty for no limit, except for the trash."""

    probe_days = forms.IntegerField(min_value=1, max_value=MOST_DAYS, required=False)
    unknown_days = forms.IntegerField(min_value=1, max_value=MOST_DAYS, required=False)
    history_days = forms.IntegerField(min_value=1, max_value=MOST_DAYS, required=False)
    trash_days = forms.IntegerField(min_value=1, max_value=MOST_DAYS)

    @classmethod
    def of(cls, team: Team) -> RulesForm:
        """The form with the current rules. It is bound, so that it can be previewed like typed
        values."""
        return cls({name: getattr(team, name) for name in cls.base_fields})

    def rules(self) -> Rules:
        return Rules(**{name: self.cleaned_data[name] for name in self.base_fields})


@signed_in
@require_GET
def privacy(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    asked = any(name in request.GET for name in RulesForm.base_fields)
    form = RulesForm(request.GET) if asked else RulesForm.of(found)
    status = 400 if asked and not form.is_valid() else 200
    with_preview = asked or "preview" in request.GET
    return _page(request, found, form, with_preview=with_preview, status=status)


def _page(
    request: PageRequest, found: Team, form: RulesForm, *, with_preview: bool, status: int = 200
) -> HttpResponse:
    rights = rights_of(request.user, found)
    context = {
        "team": found,
        "can_manage": Right.MANAGE in rights,
        "can_read_erasures": Right.ERASURES in rights,
        "can_see": Right.GALLERIES in rights,
        "fields": [(form[name], *FIELDS[name]) for name in form.fields],
        "due": None,
        "runs": RetentionRun.objects.filter(team=found).exclude(finished_at=None)[:5],
        **_holds(request, found),
        **_consents(request, found),
    }
    if Right.MANAGE in rights:
        context["galleries"] = Gallery.objects.filter(team=found).order_by("name")[:MOST_GALLERIES]
    if with_preview and Right.MANAGE in rights:
        context |= _due(found, form)
    return render(request, "privacy/privacy.html", context, status=status)


def _holds(request: PageRequest, team: Team) -> dict[str, Any]:
    """A gallery that is closed to the reader is not there; auditors read the whole record."""
    rows = access.visible_records(request.user, team).holds()
    rows = rows.select_related("person__space", "gallery", "created_by", "released_by")
    return {
        "holds": rows.in_force()[:MOST],
        "released": rows.exclude(released_at=None).order_by("-released_at")[:MOST],
    }


def _consents(request: PageRequest, team: Team) -> dict[str, Any]:
    """For spaces that require consent: people enrolled or waiting without one, and consents that
    expire soon."""
    spaces = list(Space.objects.filter(team=team, require_consent=True))
    if not spaces:
        return {"strict": [], "lacking": None, "ending": []}
    page = page_by_key(
        consent.with_pictures_without(Person.objects.filter(space__in=spaces))
        .select_related("space__team")
        .order_by("-pk"),
        request,
        PAGE,
    )
    now = timezone.now()
    ending = Consent.objects.in_force().filter(person__space__in=spaces, until__lte=now + SOON)
    return {
        "strict": spaces,
        "page": page,
        "lacking": consent.lacking_of_several(page.rows),
        "ending": ending.select_related("person__space").order_by("until", "pk")[:MOST],
    }


# --- How long things are kept ---


@signed_in
@require_GET
def due(request: PageRequest, team: str) -> HttpResponse:
    """Preview what the next run would remove under the typed rules. For owners only: it counts
    content of galleries closed to others."""
    found = team_for(request.user, team, right=Right.MANAGE)
    form = RulesForm(request.GET) if "trash_days" in request.GET else RulesForm.of(found)
    if form.is_bound and not form.is_valid():
        raise NotUnderstood({name: str(errors[0]) for name, errors in form.errors.items()})
    return fragment(request, "privacy/_due.html", {"team": found} | _due(found, form))


def _due(team: Team, form: RulesForm) -> dict[str, Any]:
    if not form.is_valid():
        return {"due": None}
    days: Mapping[str, int | None] = {
        "probes": form.cleaned_data["probe_days"],
        "unknown": form.cleaned_data["unknown_days"],
        "history": form.cleaned_data["history_days"],
        "trash": form.cleaned_data["trash_days"],
    }
    found = preview(team, {kind: number for kind, number in days.items() if number is not None})
    return {
        "due": [(one, *WORDS[one.kind]) for one in found if one.count],
        "is_changed": any(form.cleaned_data[name] != getattr(team, name) for name in form.fields),
    }


@signed_in
@require_POST
def retention(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.MANAGE)
    form = RulesForm(request.POST)
    if not form.is_valid():
        return _page(request, found, form, with_preview=False, status=422)
    change_retention(actor=actor_of(request), team=found, rules=form.rules())
    messages.success(request, "Saved. What is over its time goes within a day.")
    return go_back(request, reverse("privacy", args=[team]))


# --- Holds ---


@signed_in
@require_POST
def hold(request: PageRequest, team: str) -> HttpResponse:
    """Set a hold on a gallery. Holds on people are set on the person's page."""
    team_for(request.user, team, right=Right.MANAGE)
    page = reverse("privacy", args=[team])
    gallery = gallery_for(request.user, team, request.POST.get("gallery", ""), right=Right.MANAGE)
    try:
        hold_gallery(
            actor=actor_of(request), gallery=gallery, reason=request.POST.get("reason", "")
        )
    except Refused as error:
        return refuse(request, error, page)
    messages.success(request, f"{gallery} is under legal hold: no photo of it is deleted.")
    return go_back(request, page)


@signed_in
@require_POST
def release(request: PageRequest, team: str, pk: int) -> HttpResponse:
    found = hold_for(request.user, team, pk)
    page = reverse("privacy", args=[team])
    try:
        release_hold(actor=actor_of(request), hold=found, reason=request.POST.get("reason", ""))
    except Refused as error:
        return refuse(request, error, page)
    messages.success(request, f"The hold on {found.person or found.gallery} is released.")
    return go_back(request, page)


urlpatterns = [
    path("privacy/", privacy, name="privacy"),
    path("privacy/due", due, name="retention_due"),
    path("privacy/retention", retention, name="retention"),
    path("privacy/hold", hold, name="gallery_hold"),
    path("privacy/holds/<int:pk>/release", release, name="hold_release"),
]
