"""A space's policy: its form and page, and how its thresholds divide the space's faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.cache import cache
from django.db.models import Count, F
from django.db.models.functions import Floor
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.shared import actor_of, fragment, go_back, signed_in
from dashboard.pages.spaces.space_jobs import frame_of
from persons.access import space_for
from persons.actions.spaces import Policy, change_policy
from persons.errors import Refused
from persons.models import Decision, Face, Review, Space
from persons.privacy import consent
from persons.vision.meta import SEARCH_ALL, SEARCH_NEAREST

KEPT_SECONDS = 120
"""How long face counts are cached: at a million faces they take half a second."""

# Django's form classes can't be subscripted at run time.
if TYPE_CHECKING:
    SpaceForm = forms.ModelForm[Space]
else:
    SpaceForm = forms.ModelForm


class PolicyForm(SpaceForm):
    """Validates an owner's choices; `change_policy` saves them."""

    class Meta:
        model = Space
        fields = [
            "name",
            "threshold",
            "confirm_threshold",
            "create_new",
            "update_embedding",
            "searcher",
            "show_attributes",
            "require_consent",
        ]

    def clean(self) -> dict[str, Any]:
        chosen: dict[str, Any] = super().clean() or self.cleaned_data
        suggest, confirm = chosen.get("threshold"), chosen.get("confirm_threshold")
        if suggest is not None and confirm is not None and confirm < suggest:
            self.add_error(
                "confirm_threshold", "At least as high as the bar from which a match is suggested."
            )
        if chosen.get("create_new") and chosen.get("require_consent"):
            self.add_error(
                "require_consent",
                "It can't be required while new people are made of unknown faces: nobody has asked "
                "them. Turn one of the two off.",
            )
        return chosen

    def policy(self) -> Policy:
        return Policy(**{name: self.cleaned_data[name] for name in self.Meta.fields})


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a policy in words; `careful` marks a risky choice."""

    label: str
    value: str
    careful: bool = False


def settings_of(space: Space) -> list[Setting]:
    nearest = space.searcher == SEARCH_NEAREST
    return [
        Setting("A match is suggested from", f"{_percent(space.threshold)}% similarity"),
        Setting("It counts by itself from", f"{_percent(space.confirm_threshold)}% similarity"),
        Setting(
            "An unknown face",
            "becomes a new person" if space.create_new else "stays unknown",
            careful=space.create_new,
        ),
        Setting(
            "Being recognised",
            "changes what Vision knows of a person"
            if space.update_embedding
            else "changes nothing at Vision",
            careful=space.update_embedding,
        ),
        Setting(
            "Search", "nearest neighbour, second model" if nearest else "all people, first model"
        ),
        Setting(
            "Sex, age and emotion",
            "shown where Vision tells them" if space.show_attributes else "not shown",
            careful=space.show_attributes,
        ),
        Setting(
            "Consent",
            "required: without one nobody is enrolled or recognised"
            if space.require_consent
            else "not required",
        ),
    ]


def summary_of(space: Space) -> list[str]:
    """A policy's short text on a card: the threshold, and the options that are on."""
    found = [f"matches from {_percent(space.threshold)}%"]
    if space.create_new:
        found.append("makes new people")
    if space.update_embedding:
        found.append("learns from every photo")
    if space.searcher == SEARCH_NEAREST:
        found.append("second model")
    if space.show_attributes:
        found.append("shows attributes")
    if space.require_consent:
        found.append("requires consent")
    return found


def _percent(value: float) -> int:
    """A threshold in percent, rounded: 0.29 is 29, though 0.29 * 100 is slightly less."""
    return round(value * 100)


# --- The two thresholds, and the faces below, between and above ---


@dataclass(frozen=True, slots=True)
class Zones:
    """Faces without a human decision, counted by their similarity.

    `bars` has a count for each hundredth from 0 to 100. `unknown` counts faces without a person.
    """

    bars: list[int]
    unknown: int

    def at(self, suggest: float, confirm: float) -> dict[str, int]:
        low, high = _percent(suggest), _percent(confirm)
        return {
            "below": sum(self.bars[:low]) + self.unknown,
            "between": sum(self.bars[low:high]),
            "above": sum(self.bars[high:]),
        }

    def heights(self) -> list[tuple[int, float]]:
        """The chart's bars: (hundredth, height up to 20). Even one face gets a visible bar."""
        top = max(self.bars, default=0)
        return [
            (place, max(0.6, round(20 * count / top, 2)))
            for place, count in enumerate(self.bars)
            if count
        ]


def zones_of(space: Space) -> Zones:
    key = f"zones:{space.pk}"
    kept: tuple[list[int], int] | None = cache.get(key)
    zones = Zones(*kept) if kept is not None else None
    if zones is None:
        faces = Face.objects.filter(space=space, decision=Decision.NONE, missing=False)
        found = faces.exclude(found_person=None).annotate(place=Floor(F("similarity") * 100))
        bars = [0] * 101
        for place, count in found.order_by().values_list("place").annotate(n=Count("pk")):
            bars[min(100, max(0, int(place)))] += count
        unknown = Face.objects.filter(space=space, review=Review.UNKNOWN).count()
        zones = Zones(bars, unknown)
        cache.set(key, (zones.bars, zones.unknown), KEPT_SECONDS)
    return zones


@signed_in
@require_GET
def zones(request: PageRequest, team: str, number: int) -> HttpResponse:
    """The chart with its counts. The page fetches it after loading, as counting may be slow."""
    found = space_for(request.user, team, number)
    return fragment(request, "spaces/_zones.html", _picture(found, zones_of(found)))


def _picture(space: Space, found: Zones | None = None) -> dict[str, Any]:
    low, high = _percent(space.threshold), _percent(space.confirm_threshold)
    return {
        "team": space.team,
        "space": space,
        "zones": found,
        "counts": found.at(space.threshold, space.confirm_threshold) if found else None,
        "low": low,
        "high": high,
        "between": high - low,
        "above": 100 - high,
    }


# --- The page ---


def change(request: PageRequest, found: Space) -> HttpResponse:
    # A fresh instance, so that the page of a refused form still shows the saved policy.
    form = PolicyForm(request.POST, instance=Space.objects.get(pk=found.pk))
    before = (found.threshold, found.confirm_threshold)
    if form.is_valid():
        try:
            changed = change_policy(actor=actor_of(request), space=found, policy=form.policy())
        except Refused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _saved(before, changed))
            address = reverse("space", args=[found.team.slug, found.number])
            return go_back(request, f"{address}?view=policy")
    return policy_page(request, found, form, status=422)


def policy_page(
    request: PageRequest, found: Space, form: PolicyForm, *, status: int = 200
) -> HttpResponse:
    context = _picture(found) | frame_of(request, found)
    context |= {
        "view": "policy",
        "form": form,
        "settings": settings_of(found),
        "without_consent": consent.count_lacking(found),
        "default_threshold": Space._meta.get_field("threshold").default,
        "default_confirm": Space._meta.get_field("confirm_threshold").default,
        "searchers": [
            (SEARCH_ALL, "All people", "The first model compares a face with everybody."),
            (
                SEARCH_NEAREST,
                "Nearest neighbour",
                "The second model looks for the closest picture. It can tell sex, age and emotion.",
            ),
        ],
    }
    return render(request, "spaces/space.html", context, status=status)


def _saved(before: tuple[float, float], space: Space) -> str:
    if before == (space.threshold, space.confirm_threshold):
        return f"{space.title}: the policy is saved."
    return f"{space.title}: the policy is saved. Its faces are gone through in the background."


urlpatterns = [path("spaces/<int:number>/zones", zones, name="space_zones")]
