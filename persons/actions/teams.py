"""Teams: their settings, invitations, members and roles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from persons import audit
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs import texts
from persons.models import GalleryMember, Invitation, Membership, Role, Space, Team, User
from persons.models.teams import INVITATION_DAYS
from persons.privacy.access_reasons import PURPOSES, plain
from persons.vision.limits import SPACES

MOST_CHOICES = 30
LONGEST_CHOICE = 120
MOST_BUDGET = Decimal(10) ** 10


@transaction.atomic
def create_team(*, actor: Actor, name: str, owner: User, slug: str = "") -> Team:
    """Create a team with its ten spaces and its first owner. Raises Refused if the slug is
    taken."""
    name = texts.line(name)
    slug = slugify(slug or name)[:60]
    if not name or not slug:
        raise Refused("A team needs a name with at least one letter or digit.")
    team, created = Team.objects.get_or_create(slug=slug, defaults={"name": name[:100]})
    if not created:
        raise Refused(f"There is a team called “{slug}” already. Choose another name.")
    Space.objects.bulk_create(Space(team=team, number=number) for number in SPACES)
    Membership.objects.create(team=team, user=owner, role=Role.OWNER)
    audit.record(
        actor=actor, team=team, action="team.create", target=team, after={"owner": owner.username}
    )
    return team


@transaction.atomic
def change_settings(
    *, actor: Actor, team: Team, monthly_budget: Decimal | None, keep_probes: bool
) -> Team:
    """`monthly_budget` is in the tariff's currency: None for no limit, 0 to send nothing that
    costs."""
    if monthly_budget is not None:
        if not monthly_budget.is_finite() or not 0 <= monthly_budget < MOST_BUDGET:
            raise Refused("A budget is an amount from 0 up, or empty for no limit.")
        monthly_budget = monthly_budget.quantize(Decimal("0.01"))
    team = Team.objects.select_for_update().get(pk=team.pk)
    before = _settings(team)
    team.monthly_budget, team.keep_probes = monthly_budget, keep_probes
    after = _settings(team)
    if before == after:
        return team
    team.save(update_fields=["monthly_budget", "keep_probes"])
    changed = [key for key in after if before[key] != after[key]]
    audit.record(
        actor=actor,
        team=team,
        action="team.settings",
        target=team,
        before={key: before[key] for key in changed},
        after={key: after[key] for key in changed},
    )
    return team


@transaction.atomic
def set_reasons(*, actor: Actor, team: Team, purposes: Sequence[str], choices: str) -> Team:
    """Set for which purposes the team asks for a reason, and which reasons it offers.

    `choices` has one reason a line; empty means free text.
    """
    wanted = [purpose for purpose in PURPOSES if purpose in purposes]
    lines = [plain(line)[:LONGEST_CHOICE] for line in choices.splitlines()]
    listed = list(dict.fromkeys(line for line in lines if line))
    if len(listed) > MOST_CHOICES:
        raise Refused(f"At most {MOST_CHOICES} reasons to choose from.")
    team = Team.objects.select_for_update().get(pk=team.pk)
    before = {"require_reasons": team.require_reasons, "reason_choices": team.reason_choices}
    after = {"require_reasons": wanted, "reason_choices": listed}
    if before == after:
        return team
    team.require_reasons, team.reason_choices = wanted, listed
    team.save(update_fields=["require_reasons", "reason_choices"])
    audit.record(
        actor=actor, team=team, action="team.reasons", target=team, before=before, after=after
    )
    return team


def _settings(team: Team) -> dict[str, str | bool | None]:
    """As the audit log keeps them: JSON has no exact decimals."""
    budget = team.monthly_budget
    return {
        "monthly_budget": None if budget is None else str(budget),
        "keep_probes": team.keep_probes,
    }


@transaction.atomic
def invite_member(*, actor: Actor, team: Team, email: str, role: str) -> tuple[Invitation, str]:
    """The invitation and the token for its link. Only the token's hash is kept."""
    email = texts.line(email)
    try:
        validate_email(email)
    except ValidationError:
        raise Refused("That is not an e-mail address.") from None
    _demand_role(role)
    token, token_hash = Invitation.new_token()
    invitation = Invitation.objects.create(
        team=team,
        email=email,
        role=role,
        token_hash=token_hash,
        created_by=actor.user,
        expires_at=timezone.now() + timedelta(days=INVITATION_DAYS),
    )
    audit.record(
        actor=actor,
        team=team,
        action="invitation.create",
        target=invitation,
        after={"email": email, "role": role},
    )
    return invitation, token


@transaction.atomic
def revoke_invitation(*, actor: Actor, invitation: Invitation) -> None:
    if not Invitation.objects.filter(pk=invitation.pk, accepted_at=None, revoked_at=None).update(
        revoked_at=timezone.now()
    ):
        raise Refused("That invitation was used or revoked already.")
    audit.record(actor=actor, team=invitation.team, action="invitation.revoke", target=invitation)


def open_invitation(token: str) -> Invitation | None:
    """The invitation for a link's token, or None if it is used, revoked or expired."""
    invitation = (
        Invitation.objects.select_related("team", "created_by")
        .filter(token_hash=Invitation.hash_token(token))
        .first()
    )
    return invitation if invitation and invitation.is_open else None


@transaction.atomic
def accept_invitation(*, actor: Actor, invitation: Invitation, user: User) -> Membership:
    """Make `user` a member, once. A member who has a role already keeps it. Raises Refused."""
    claimed = Invitation.objects.filter(
        pk=invitation.pk, accepted_at=None, revoked_at=None, expires_at__gt=timezone.now()
    ).update(accepted_at=timezone.now(), accepted_by=user)
    if not claimed:
        raise Refused("This invitation was used, revoked or has expired. Ask for a new one.")
    membership, created = Membership.objects.get_or_create(
        team=invitation.team, user=user, defaults={"role": invitation.role}
    )
    audit.record(
        actor=actor,
        team=invitation.team,
        action="invitation.accept",
        target=invitation,
        after={"user": user.username, "role": membership.role, "new": created},
    )
    return membership


@transaction.atomic
def change_role(*, actor: Actor, membership: Membership, role: str) -> Membership:
    """Raises Refused if the team would be left without an owner."""
    _demand_role(role)
    membership = _locked(membership)
    before = membership.role
    if before == role:
        return membership
    if before == Role.OWNER:
        _demand_other_owner(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    audit.record(
        actor=actor,
        team=membership.team,
        action="member.role",
        target=membership.user,
        before={"role": before},
        after={"role": role},
    )
    return membership


@transaction.atomic
def remove_member(*, actor: Actor, membership: Membership) -> None:
    """Raises Refused if the team would be left without an owner."""
    membership = _locked(membership)
    if membership.role == Role.OWNER:
        _demand_other_owner(membership)
    audit.record(
        actor=actor,
        team=membership.team,
        action="member.remove",
        target=membership.user,
        before={"role": membership.role},
    )
    # A member who comes back later starts with open galleries only.
    GalleryMember.objects.filter(gallery__team=membership.team_id, user=membership.user_id).delete()
    membership.delete()


def _locked(membership: Membership) -> Membership:
    """The row, with the whole team locked: two owners can't demote each other at once."""
    Team.objects.select_for_update().get(pk=membership.team_id)
    found = Membership.objects.select_related("team", "user").filter(pk=membership.pk).first()
    if found is None:
        raise Refused("That member has left the team.")
    return found


def _demand_other_owner(membership: Membership) -> None:
    others = Membership.objects.filter(team=membership.team_id, role=Role.OWNER).exclude(
        pk=membership.pk
    )
    if not others.exists():
        raise Refused("A team needs an owner. Make somebody else an owner first.")


def _demand_role(role: str) -> None:
    if role not in Role.values:
        raise Refused(f"A role is one of {', '.join(Role.values)}.")
