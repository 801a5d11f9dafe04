"""API keys for the proxy: permissions, and the last use of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    page_by_key,
    refuse,
    signed_in,
)
from persons.access import Right, key_for, rights_of, team_for
from persons.actions.keys import KeyOptions, create_key, revoke_key, set_scopes
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import ApiKey, Space, Team
from persons.models.keys import Scope
from persons.vision.limits import SPACES
from persons.vision.types import Method

PAGE_SIZE = 30
EXPIRES_SOON = timedelta(days=7)
LAST_YEAR = 2999

METHODS = [
    (Method.RECOGNIZE, "asks who is on a picture"),
    (Method.SET, "enrols people"),
    (Method.DELETE, "removes people"),
    (Method.TRUNCATE, "empties a whole space"),
]
DEFAULTS = {"methods": [str(Method.RECOGNIZE)], "fit": True}
"""Defaults of a new key: it may recognise but change nothing."""


SCOPES = [
    (Scope.CREATE, "make new people: create_new enrols each face that nobody matches"),
    (Scope.LEARN, "learn from what it recognises: update_embedding changes what Vision knows"),
]
"""Writes that a recognition may perform."""


class KeyForm(forms.Form):
    """Parses an owner's choices; `create_key` creates the key."""

    name = forms.CharField(
        max_length=100, error_messages={"required": "Give the key a name, such as the program's."}
    )
    methods = forms.MultipleChoiceField(
        choices=[(str(method), what) for method, what in METHODS],
        error_messages={"required": "Choose at least one method."},
    )
    spaces = forms.TypedMultipleChoiceField(
        choices=[(str(number), str(number)) for number in SPACES], coerce=int, required=False
    )
    scopes = forms.MultipleChoiceField(
        choices=[(str(scope), what) for scope, what in SCOPES],
        required=False,
        error_messages={"invalid_choice": "There is no scope “%(value)s”."},
    )
    daily_images = forms.IntegerField(
        min_value=1,
        max_value=10**9,
        required=False,
        error_messages={"min_value": "A daily limit is at least one image."},
    )
    last_day = forms.DateField(required=False)
    fit = forms.BooleanField(required=False)

    def clean_last_day(self) -> date | None:
        day: date | None = self.cleaned_data["last_day"]
        if day is not None and day.year > LAST_YEAR:
            raise forms.ValidationError("That is too far away. Leave it empty for no end.")
        if day is not None and day < timezone.localdate():
            raise forms.ValidationError("That day is over.")
        return day

    def expires_at(self) -> datetime | None:
        """End of the last valid day, in the site's time zone."""
        day: date | None = self.cleaned_data["last_day"]
        if day is None:
            return None
        return timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as the list shows it. `state` is "usable", "soon" (expiring), "expired", "revoked"."""

    key: ApiKey
    state: str
    methods: list[str]
    spaces: list[str]
    recognises: bool
    """Whether it may recognise: only recognitions have scopes."""
    today: int
    month: int
    last_day: date | None


@signed_in
@require_GET
def keys(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    return render(
        request, "team/keys/keys.html", _context(request, found, KeyForm(initial=DEFAULTS))
    )


def _context(request: PageRequest, found: Team, form: KeyForm, **more: Any) -> dict[str, Any]:
    given = Parameters(request.GET)
    show = given.choice("show", ("ended",))
    given.demand()
    keys = ApiKey.objects.filter(team=found)
    listed = (keys.ended() if show else keys.usable()).for_list(metering.this_month())
    page = page_by_key(listed, request, PAGE_SIZE)
    spaces = list(Space.objects.filter(team=found))
    counts = _counts(found)
    return {
        "team": found,
        "can_manage": Right.MANAGE in rights_of(request.user, found),
        "is_cloud": is_cloud(),
        "page": page,
        "rows": _rows(page.rows, spaces),
        "show": show,
        "query": "show=ended" if show else "",
        "usable": counts["all"] - counts["ended"],
        "ended": counts["ended"],
        "spaces": spaces,
        "methods": METHODS,
        "scopes": SCOPES,
        "form": form,
        "chosen_methods": _chosen(form, "methods"),
        "chosen_spaces": _chosen(form, "spaces"),
        "chosen_scopes": _chosen(form, "scopes"),
        "today": timezone.localdate(),
        "endpoint": request.build_absolute_uri("/"),
        "example": curl_example(
            _origin(request), "$ROLLCALL_KEY", Method.RECOGNIZE, space=0, quote='"'
        ),
    } | more


def _counts(found: Team) -> dict[str, int]:
    now = timezone.now()
    ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=now)
    counts: dict[str, int] = ApiKey.objects.filter(team=found).aggregate(
        all=Count("pk"), ended=Count("pk", filter=ended)
    )
    return counts


def _chosen(form: KeyForm, name: str) -> list[str]:
    return [str(value) for value in form[name].value() or ()]


def _rows(found: Sequence[Any], spaces: Sequence[Space]) -> list[KeyRow]:
    titles = {space.number: space.title for space in spaces}
    return [
        KeyRow(
            key=key,
            state=_state(key),
            methods=[] if len(key.methods) == len(METHODS) else key.methods,
            spaces=[titles.get(number, str(number)) for number in key.spaces],
            recognises=not key.methods or str(Method.RECOGNIZE) in key.methods,
            today=key.today_images or 0,
            month=key.month_images,
            last_day=_last_day(key),
        )
        for key in found
    ]


def _last_day(key: ApiKey) -> date | None:
    """The last day on which the key is valid. A key that expires at midnight is invalid on the day
    that then begins."""
    if key.expires_at is None:
        return None
    return timezone.localdate(key.expires_at - timedelta(seconds=1))


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    if not key.is_usable:
        return "expired"
    soon = key.expires_at is not None and key.expires_at - timezone.now() < EXPIRES_SOON
    return "soon" if soon else "usable"


@signed_in
@require_POST
@never_cache
@sensitive_variables()
def make(request: PageRequest, team: str) -> HttpResponse:
    """Create a key. Responds with the page instead of a redirect, because the key is shown only
    once."""
    found = team_for(request.user, team, right=Right.MANAGE)
    form = KeyForm(request.POST)
    context: dict[str, Any] = {}
    if form.is_valid():
        try:
            context = _made(request, found, form)
        except Refused as error:
            form.add_error(None, str(error))
    status = 422 if form.errors else 200
    shown = form if form.errors else KeyForm(initial=DEFAULTS)
    context = _context(request, found, shown, **context)
    if is_fragment(request):
        return fragment(request, "team/keys/_keys.html", context, status=status)
    return render(request, "team/keys/keys.html", context, status=status)


@sensitive_variables()
def _made(request: PageRequest, found: Team, form: KeyForm) -> dict[str, Any]:
    chosen = form.cleaned_data
    key, text = create_key(
        actor=actor_of(request),
        team=found,
        name=chosen["name"],
        options=KeyOptions(
            methods=chosen["methods"],
            spaces=chosen["spaces"],
            scopes=chosen["scopes"],
            daily_images=chosen["daily_images"],
            expires_at=form.expires_at(),
            fit=chosen["fit"],
        ),
    )
    method = next(method for method, _ in METHODS if method in key.methods)
    space = key.spaces[0] if key.spaces else 0
    return {
        "made": key,
        "text": text,
        "made_example": curl_example(_origin(request), text, method, space=space),
        "made_method": method,
    }


def curl_example(origin: str, key: str, method: Method, *, space: int, quote: str = "'") -> str:
    """A request to paste into a shell. Vision's own clients send the same to the vendor's host."""
    meta: dict[str, Any] = {"space": str(space)}
    files = ""
    if method in (Method.SET, Method.DELETE):
        meta["images"] = [{"name": "photo", "person_id": 1}]
    elif method == Method.RECOGNIZE:
        meta["images"] = [{"name": "photo"}]
    if method in (Method.SET, Method.RECOGNIZE):
        files = " \\\n  -F photo=@photo.jpg"
    address = f"{origin}/api/v1/persons/{method}?oauth_token={key}&oauth_provider=mcs"
    return f"curl {quote}{address}{quote} \\\n  -F 'meta={json.dumps(meta)}'{files}"


def _origin(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")


@signed_in
@require_POST
def change_scopes(request: PageRequest, team: str, pk: int) -> HttpResponse:
    key = key_for(request.user, team, pk)
    back = reverse("api_keys", args=[team])
    try:
        set_scopes(actor=actor_of(request), key=key, scopes=request.POST.getlist("scopes"))
    except Refused as error:
        return refuse(request, error, back)
    messages.success(request, f"Saved: what “{key.name}” may change.")
    return go_back(request, back)


@signed_in
@require_POST
def revoke(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Revoke a key. Keys already revoked or expired are unchanged."""
    key = key_for(request.user, team, pk)
    revoke_key(actor=actor_of(request), key=key)
    messages.success(request, f"“{key.name}” opens nothing any more.")
    return go_back(request, reverse("api_keys", args=[team]))


urlpatterns = [
    path("keys/", keys, name="api_keys"),
    path("keys/make", make, name="make_key"),
    path("keys/<int:pk>/scopes", change_scopes, name="key_scopes"),
    path("keys/<int:pk>/revoke", revoke, name="revoke_key"),
]
