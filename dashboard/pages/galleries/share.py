"""Who may see a gallery: open or closed, its own members, and its public links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import actor_of, go_back, refuse, signed_in
from persons.access import (
    RIGHTS,
    Right,
    gallery_for,
    gallery_member_for,
    link_for,
    rights_of,
)
from persons.actions.sharing import (
    LINK_DAYS,
    LinkOptions,
    make_link,
    remove_gallery_member,
    revoke_link,
    set_gallery_role,
    set_openness,
)
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import Gallery, GalleryMember, Membership, Role, ShareLink, User

LASTING = [(1, "1 day"), (7, "1 week"), (30, "30 days"), (90, "90 days"), (365, "1 year")]
LINKS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A gallery's member. `role` is the effective one: the lesser of the team's and gallery's."""

    member: GalleryMember
    role: str
    can_edit: bool
    """Whether the team's role would let them be an editor here."""


def _home(gallery: Gallery) -> str:
    return reverse("share", args=[gallery.team.slug, gallery.slug])


@signed_in
@require_GET
def share(request: PageRequest, team: str, slug: str) -> HttpResponse:
    found = gallery_for(request.user, team, slug)
    return render(request, "galleries/share/share.html", _context(request, found))


def _context(request: PageRequest, gallery: Gallery, **more: Any) -> dict[str, Any]:
    memberships = {
        one.user_id: one
        for one in Membership.objects.filter(team=gallery.team).select_related("user")
    }
    members = GalleryMember.objects.filter(gallery=gallery).select_related("user").order_by("pk")
    rows = [_row(member, memberships[member.user_id]) for member in members]
    inside = {row.member.user_id for row in rows}
    others = [
        one
        for one in sorted(memberships.values(), key=lambda one: str(one.user).casefold())
        if one.user_id not in inside and one.role != Role.OWNER
    ]
    # An open gallery needs no members but auditors: they see only what is shared with them.
    auditors = [one for one in others if one.role == Role.AUDITOR]
    links = list(ShareLink.objects.filter(gallery=gallery).select_related("created_by"))
    return {
        "team": gallery.team,
        "gallery": gallery,
        "can_manage": Right.MANAGE in rights_of(request.user, gallery.team),
        "owners": [one.user for one in memberships.values() if one.role == Role.OWNER],
        "rows": rows,
        "others": auditors if gallery.is_open and not rows else others,
        "auditors": auditors,
        "links": [link for link in links if link.is_usable],
        "ended": [link for link in links if not link.is_usable][:LINKS_SHOWN],
        "lasting": LASTING,
        "days": LINK_DAYS,
        "now": timezone.now(),
    } | more


def _row(member: GalleryMember, membership: Membership) -> MemberRow:
    can_edit = Right.EDIT in RIGHTS[membership.role]
    role = member.role if can_edit else Role.VIEWER
    return MemberRow(member, Role(role).label.lower(), can_edit)


@signed_in
@require_POST
def openness(request: PageRequest, team: str, slug: str) -> HttpResponse:
    found = gallery_for(request.user, team, slug, right=Right.MANAGE)
    given = Parameters(request.POST)
    is_open = given.flag("open")
    given.demand()
    found = set_openness(actor=actor_of(request), gallery=found, is_open=is_open)
    if is_open:
        messages.success(request, "The whole team sees this gallery now.")
    else:
        messages.success(request, "Only owners and the members listed here see this gallery now.")
    return go_back(request, _home(found))


@signed_in
@require_POST
def member(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """Add a member of the team to the gallery, or change their role in it."""
    found = gallery_for(request.user, team, slug, right=Right.MANAGE)
    pk = Parameters(request.POST).number("user")
    if pk is None:
        return refuse(request, Refused("Choose a member of the team."), _home(found))
    user = get_object_or_404(User, pk=pk, memberships__team=found.team)
    try:
        set_gallery_role(
            actor=actor_of(request), gallery=found, user=user, role=request.POST.get("role", "")
        )
    except Refused as error:
        return refuse(request, error, _home(found))
    messages.success(request, f"{user} sees this gallery.")
    return go_back(request, _home(found))


@signed_in
@require_POST
def remove(request: PageRequest, team: str, slug: str, pk: int) -> HttpResponse:
    found = gallery_member_for(request.user, team, slug, pk)
    remove_gallery_member(actor=actor_of(request), member=found)
    messages.success(request, f"{found.user} is no member of this gallery any more.")
    return go_back(request, _home(found.gallery))


# --- Public links ---


@signed_in
@require_POST
@never_cache
@sensitive_variables()
def make(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """Make a public link. Answers without a redirect: the link's address is shown this once."""
    found = gallery_for(request.user, team, slug, right=Right.MANAGE)
    days = Parameters(request.POST).number("days", most=99_999)
    given = Parameters(request.POST)
    ticked = {
        name: given.flag(name)
        for name in ("show_names", "show_details", "allow_download", "keep_place")
    }
    given.demand()
    title = request.POST.get("title", "")
    try:
        link, token = make_link(
            actor=actor_of(request),
            gallery=found,
            options=LinkOptions(
                title=title,
                days=days or 0,
                password=request.POST.get("password", ""),
                **ticked,
            ),
        )
    except Refused as error:
        typed = {"error": str(error), "title": title, "ticked": ticked}
        return render(
            request, "galleries/share/share.html", _context(request, found, **typed), status=422
        )
    address = request.build_absolute_uri(reverse("public_gallery", args=[token]))
    context = _context(request, found, made=link, address=address)
    return render(request, "galleries/share/share.html", context)


@signed_in
@require_POST
def revoke(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Revoke a public link. One that is revoked or expired already stays as it is."""
    link = link_for(request.user, team, pk)
    revoke_link(actor=actor_of(request), link=link)
    messages.success(request, f"The link …{link.hint} opens nothing any more.")
    return go_back(request, _home(link.gallery))


urlpatterns = [
    path("g/<slug:slug>/share", share, name="share"),
    path("g/<slug:slug>/share/open", openness, name="share_open"),
    path("g/<slug:slug>/share/members", member, name="share_member"),
    path("g/<slug:slug>/share/members/<int:pk>/remove", remove, name="share_member_remove"),
    path("g/<slug:slug>/share/links", make, name="make_link"),
    path("links/<int:pk>/revoke", revoke, name="revoke_link"),
]
