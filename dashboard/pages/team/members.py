"""Members, their roles and invitations, and the public page of an invitation's link."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import UserCreationForm
from django.db import transaction
from django.db.models import Case, IntegerField, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    page_by_keys,
    refuse,
    signed_in,
    status_of_no_token,
)
from persons.access import Right, invitation_for, membership_for, rights_of, team_for
from persons.actions.teams import (
    accept_invitation,
    change_role,
    invite_member,
    open_invitation,
    remove_member,
    revoke_invitation,
    set_reasons,
)
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Invitation, Membership, Role, Source, Team, User
from persons.models.teams import INVITATION_DAYS
from persons.privacy.access_reasons import PURPOSES

# Django's forms are not generic at run time.
if TYPE_CHECKING:
    AccountForm = UserCreationForm[User]
else:
    AccountForm = UserCreationForm

# The rights of each role, as in `persons.access.RIGHTS`.
ROLES = [
    (Role.OWNER, "Everything: members and roles, the policy of spaces, and all an editor may."),
    (Role.EDITOR, "Uploads photos, names faces, decides who is who."),
    (Role.VIEWER, "Looks at galleries, people and history. Changes nothing."),
    (Role.AUDITOR, "Checks the records and exports them. Sees galleries shared with them alone."),
]
STANDING = Case(
    *(When(role=role, then=Value(position)) for position, (role, _) in enumerate(ROLES)),
    default=Value(len(ROLES)),
    output_field=IntegerField(),
)
MEMBERS_PAGE = 40
MOST_INVITATIONS = 50
"""Maximum invitations shown; open ones expire by themselves."""


# --- Members ---


@signed_in
@require_GET
def members(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    return render(request, "team/members.html", _members_context(request, found))


def _members_context(request: PageRequest, found: Team, **more: Any) -> dict[str, Any]:
    can_manage = Right.MANAGE in rights_of(request.user, found)
    memberships = Membership.objects.filter(team=found)
    page = page_by_keys(
        memberships.select_related("user").annotate(standing=STANDING),
        request,
        MEMBERS_PAGE,
        ("standing", "user__username", "pk"),
    )
    if more:
        # This page is shown at the form's URL, where a pager's links would not work.
        page = replace(page, older=None, newer=None)
    context: dict[str, Any] = {
        "team": found,
        "can_manage": can_manage,
        "page": page,
        "count": memberships.count(),
        "only_owner": memberships.filter(role=Role.OWNER).count() == 1,
        "roles": ROLES,
        "days": INVITATION_DAYS,
        "invited_role": Role.EDITOR,
        "purposes": PURPOSES,
    }
    if can_manage:
        invitations = Invitation.objects.filter(
            team=found, accepted_at=None, revoked_at=None, expires_at__gt=timezone.now()
        )
        context["invitations"] = invitations.select_related("created_by")[:MOST_INVITATIONS]
        context["invitation_count"] = invitations.count()
    return context | more


@signed_in
@require_POST
def reasons(request: PageRequest, team: str) -> HttpResponse:
    """Set what requires a reason."""
    found = team_for(request.user, team, right=Right.MANAGE)
    try:
        set_reasons(
            actor=actor_of(request),
            team=found,
            purposes=request.POST.getlist("purpose"),
            choices=request.POST.get("choices", ""),
        )
    except Refused as error:
        return refuse(request, error, reverse("members", args=[team]))
    messages.success(request, "Saved: for what a reason is asked.")
    return go_back(request, reverse("members", args=[team]))


@signed_in
@require_POST
@never_cache
def invite(request: PageRequest, team: str) -> HttpResponse:
    """Create an invitation. Responds with the page instead of a redirect, because the link is
    shown only once."""
    found = team_for(request.user, team, right=Right.MANAGE)
    email, role = request.POST.get("email", ""), request.POST.get("role", "")
    try:
        invitation, token = invite_member(
            actor=actor_of(request), team=found, email=email, role=role
        )
    except Refused as error:
        more: dict[str, Any] = {
            "error": str(error),
            "typed": email,
            "invited_role": role if role in Role.values else Role.EDITOR,
        }
        status = 422
    else:
        link = request.build_absolute_uri(reverse("join", args=[token]))
        more, status = {"made": invitation, "link": link}, 200
    context = _members_context(request, found, **more)
    if is_fragment(request):
        return fragment(request, "team/_invitations.html", context, status=status)
    return render(request, "team/members.html", context, status=status)


@signed_in
@require_POST
def role(request: PageRequest, team: str, pk: int) -> HttpResponse:
    membership = membership_for(request.user, team, pk)
    back = reverse("members", args=[team])
    try:
        changed = change_role(
            actor=actor_of(request), membership=membership, role=request.POST.get("role", "")
        )
    except Refused as error:
        return refuse(request, error, back)
    messages.success(request, f"{changed.user} is {_with_article(changed.role)} now.")
    return go_back(request, back)


@signed_in
@require_POST
def remove(request: PageRequest, team: str, pk: int) -> HttpResponse:
    membership = membership_for(request.user, team, pk)
    back = reverse("members", args=[team])
    try:
        remove_member(actor=actor_of(request), membership=membership)
    except Refused as error:
        return refuse(request, error, back)
    if membership.user_id == request.user.pk:
        messages.success(request, f"You have left {membership.team}.")
        return redirect("home")
    messages.success(request, f"{membership.user} is no member of {membership.team} any more.")
    return go_back(request, back)


@signed_in
@require_POST
def revoke(request: PageRequest, team: str, pk: int) -> HttpResponse:
    invitation = invitation_for(request.user, team, pk)
    back = reverse("members", args=[team])
    try:
        revoke_invitation(actor=actor_of(request), invitation=invitation)
    except Refused as error:
        return refuse(request, error, back)
    messages.success(request, f"The link for {invitation.email} no longer works.")
    return go_back(request, back)


# --- The page behind an invitation's link ---


class NewAccountForm(AccountForm):
    """A user name and a repeated password."""

    class Meta:
        model = User
        fields = ["username"]


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Public. Join with the signed-in account, or with a new one created here."""
    invitation = open_invitation(token)
    if invitation is None:
        return _closed(request, status=status_of_no_token(request, 410))
    if isinstance(request.user, User):
        return _join_as(request, invitation, request.user)
    return _join_as_new(request, invitation)


def _join_as(request: HttpRequest, invitation: Invitation, user: User) -> HttpResponse:
    present = Membership.objects.filter(team=invitation.team, user=user).first()
    if request.method == "POST" and present is None:
        try:
            accept_invitation(actor=actor_of(request), invitation=invitation, user=user)
        except Refused as error:
            return _closed(request, str(error))
        return _welcome(request, invitation)
    context = {"invitation": invitation, "present": present, "does": dict(ROLES)[_role(invitation)]}
    return render(request, "team/join.html", context)


def _join_as_new(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    form = NewAccountForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            user = _join_with_account(request, invitation, form)
        except Refused as error:
            return _closed(request, str(error))
        login(request, user)
        return _welcome(request, invitation)
    context = {
        "invitation": invitation,
        "form": form,
        "does": dict(ROLES)[_role(invitation)],
        "sign_in": f"{reverse('login')}?next={request.path}",
    }
    return render(request, "team/join.html", context, status=422 if form.errors else 200)


@transaction.atomic
def _join_with_account(request: HttpRequest, invitation: Invitation, form: NewAccountForm) -> User:
    """Create the account and join, atomically: a link used meanwhile leaves no account behind."""
    user = form.save()
    asked = actor_of(request)
    actor = Actor(user, Source.PAGE, address=asked.address, request_id=asked.request_id)
    accept_invitation(actor=actor, invitation=invitation, user=user)
    return user


def _welcome(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    messages.success(request, f"Welcome to {invitation.team}.")
    return redirect("overview", invitation.team.slug)


def _closed(request: HttpRequest, reason: str = "", *, status: int = 410) -> HttpResponse:
    return render(request, "team/join_closed.html", {"reason": reason}, status=status)


def _role(invitation: Invitation) -> Role:
    return Role(invitation.role)


def _with_article(role: str) -> str:
    word = Role(role).label.lower()
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


urlpatterns = [
    path("members/", members, name="members"),
    path("members/invite", invite, name="invite"),
    path("members/<int:pk>/role", role, name="member_role"),
    path("members/<int:pk>/remove", remove, name="member_remove"),
    path("members/reasons", reasons, name="team_reasons"),
    path("invitations/<int:pk>/revoke", revoke, name="invitation_revoke"),
]
