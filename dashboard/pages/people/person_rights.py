"""A person's rights on record: consents, and a legal hold."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import actor_of, go_back, refuse, signed_in
from persons.access import Right, consent_for, person_for, rights_of, space_for
from persons.actions.consent import TEXT_LENGTH, ConsentTerms, record_consent, withdraw_consent
from persons.actions.holds import hold_person
from persons.errors import Refused
from persons.models import Consent, Person
from persons.privacy import consent, holds

MOST_CONSENTS = 100


class ConsentForm(forms.Form):
    """`given` is the day on which they agreed, `until` the last day on which it counts."""

    purpose = forms.CharField(max_length=TEXT_LENGTH)
    document = forms.CharField(max_length=TEXT_LENGTH, required=False)
    given = forms.DateField()
    until = forms.DateField(required=False)

    def consent(self) -> ConsentTerms:
        cleaned = self.cleaned_data
        return ConsentTerms(
            purpose=cleaned["purpose"],
            document=cleaned["document"],
            given_at=_moment(cleaned["given"], time.min),
            until=_moment(cleaned["until"], time.max) if cleaned["until"] else None,
        )


def _moment(day: Any, at: time) -> datetime:
    return timezone.make_aware(datetime.combine(day, at))


def rights_context(request: PageRequest, found: Person) -> dict[str, Any]:
    """Context for the person's page: the hold, and consents, also of people merged with them."""
    rows = Consent.objects.filter(person__canonical=found.canonical_id)
    consents = list(rows.select_related("person", "recorded_by", "withdrawn_by")[:MOST_CONSENTS])
    return {
        "consents": consents,
        "has_consent": any(one.is_in_force for one in consents),
        "was_withdrawn": any(one.withdrawn_at for one in consents),
        "requires_consent": found.space.require_consent,
        "hold": holds.hold_on_person(found),
        "can_manage": Right.MANAGE in rights_of(request.user, found.space.team),
        "today": timezone.localdate(),
        "erasure_url": _erasure_url(found),
    }


def _erasure_url(found: Person) -> str:
    """The address for erasing this person; "" where this installation has no such page."""
    try:
        return reverse(
            "erasure_start", args=[found.space.team.slug, found.space.number, found.person_id]
        )
    except NoReverseMatch:
        return ""


@signed_in
@require_POST
def record(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    form = ConsentForm(request.POST)
    try:
        if not form.is_valid():
            field, errors = next(iter(form.errors.items()))
            raise Refused(f"{_LABELS.get(field, field)}: {errors[0]}")
        record_consent(actor=actor_of(request), person=found, given=form.consent())
    except Refused as error:
        return refuse(request, error, _url(found))
    messages.success(request, f"The consent of {found.name} is recorded.")
    return go_back(request, _url(found))


_LABELS = {
    "purpose": "To what they agreed",
    "document": "Document",
    "given": "Given on",
    "until": "Until",
}


@signed_in
@require_POST
def withdraw(request: PageRequest, team: str, pk: int) -> HttpResponse:
    found = consent_for(request.user, team, pk, write=True)
    person = found.person
    try:
        withdraw_consent(actor=actor_of(request), consent_row=found)
    except Refused as error:
        return refuse(request, error, _url(person))
    space = space_for(request.user, team, person.space.number)
    words = f"The consent of {person.name} is withdrawn."
    if consent.lacking(space, [person.pk]):
        words += " Vision is told to forget them; their pictures stay here and wait."
    messages.success(request, words)
    return go_back(request, _url(person))


@signed_in
@require_POST
def hold(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    # Only owners may hold.
    space_for(request.user, team, number, right=Right.MANAGE)
    try:
        hold_person(actor=actor_of(request), person=found, reason=request.POST.get("reason", ""))
    except Refused as error:
        return refuse(request, error, _url(found))
    messages.success(request, f"{found.name} is under legal hold: nothing of them is deleted.")
    return go_back(request, _url(found))


def _url(found: Person) -> str:
    return reverse("person", args=[found.space.team.slug, found.space.number, found.person_id])


_ONE = "spaces/<int:number>/people/<int:person_id>/"

urlpatterns = [
    path(f"{_ONE}consent", record, name="consent_record"),
    path(f"{_ONE}hold", hold, name="person_hold"),
    path("consents/<int:pk>/withdraw", withdraw, name="consent_withdraw"),
]
