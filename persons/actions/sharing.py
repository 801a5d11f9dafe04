"""Who sees a gallery: the whole team, its own members, or whoever has a public link."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from persons import audit
from persons.access import RIGHTS, Right
from persons.access import links as share_links
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs import texts
from persons.models import Gallery, GalleryMember, Membership, Role, ShareLink, User

LINK_DAYS = 30
MOST_LINK_DAYS = 366
TITLE_LENGTH = 120
PASSWORD_LENGTH = (6, 200)
GALLERY_ROLES = (Role.EDITOR, Role.VIEWER)


# --- The team ---


@transaction.atomic
def set_openness(*, actor: Actor, gallery: Gallery, is_open: bool) -> Gallery:
    """Open a gallery to the whole team, or close it to all but owners and its own members.

    An open gallery keeps its members, for when it is closed again.
    """
    gallery = Gallery.objects.select_for_update(of=("self",)).get(pk=gallery.pk)
    if gallery.is_open == is_open:
        return gallery
    gallery.is_open = is_open
    gallery.save(update_fields=["is_open"])
    audit.record(
        actor=actor,
        team=gallery.team,
        action="gallery.open" if is_open else "gallery.close",
        target=gallery,
    )
    return gallery


@transaction.atomic
def set_gallery_role(*, actor: Actor, gallery: Gallery, user: User, role: str) -> GalleryMember:
    """Let a team member into a closed gallery, or an auditor into any; or change their role there.

    Raises Refused if the role doesn't fit what they may do in the team.
    """
    if role not in GALLERY_ROLES:
        raise Refused("In a gallery one is an editor or a viewer.")
    membership = Membership.objects.filter(team=gallery.team_id, user=user).first()
    if membership is None:
        raise Refused("Only members of the team can be let into a gallery. Invite them first.")
    rights = RIGHTS[membership.role]
    if Right.MANAGE in rights:
        raise Refused(f"{user} owns the team and sees every gallery already.")
    if role == Role.EDITOR and Right.EDIT not in rights:
        raise Refused(f"{user} may only look at things in this team: make them a viewer here.")
    Gallery.objects.select_for_update(of=("self",)).get(pk=gallery.pk)
    before = GalleryMember.objects.filter(gallery=gallery, user=user).first()
    if before is not None and before.role == role:
        return before
    member, _ = GalleryMember.objects.update_or_create(
        gallery=gallery, user=user, defaults={"role": role}
    )
    audit.record(
        actor=actor,
        team=gallery.team,
        action="gallery.member",
        target=gallery,
        before={"role": before.role} if before else {},
        after={"user": str(user), "role": role},
    )
    return member


@transaction.atomic
def remove_gallery_member(*, actor: Actor, member: GalleryMember) -> None:
    gallery, user, role = member.gallery, member.user, member.role
    deleted, _ = GalleryMember.objects.filter(pk=member.pk).delete()
    if deleted:
        audit.record(
            actor=actor,
            team=gallery.team,
            action="gallery.unmember",
            target=gallery,
            before={"user": str(user), "role": role},
        )


# --- Everybody with a link ---


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What visitors of a link may see and do.

    `keep_place`, which leaves the location in downloads, needs `show_details` and `allow_download`.
    """

    title: str = ""
    days: int = LINK_DAYS
    password: str = ""
    show_names: bool = False
    show_details: bool = False
    allow_download: bool = False
    keep_place: bool = False


@transaction.atomic
def make_link(
    *, actor: Actor, gallery: Gallery, options: LinkOptions = LinkOptions()
) -> tuple[ShareLink, str]:
    """The link and its token, which is stored nowhere. Raises Refused for an invalid value."""
    title, days, password = texts.line(options.title), options.days, options.password
    least, most = PASSWORD_LENGTH
    if len(title) > TITLE_LENGTH:
        raise Refused(f"Say for whom it is in at most {TITLE_LENGTH} characters.")
    if not 1 <= days <= MOST_LINK_DAYS:
        raise Refused(f"A link lasts from 1 to {MOST_LINK_DAYS} days.")
    if password and not least <= len(password) <= most:
        raise Refused(f"A password has from {least} to {most} characters.")
    token, token_hash, hint = share_links.new_token()
    link = ShareLink.objects.create(
        gallery=gallery,
        token_hash=token_hash,
        hint=hint,
        title=title,
        password=make_password(password) if password else "",
        show_names=options.show_names,
        show_details=options.show_details,
        allow_download=options.allow_download,
        keep_place=options.keep_place and options.show_details and options.allow_download,
        created_by=actor.user,
        expires_at=_end(timezone.now(), days),
    )
    audit.record(
        actor=actor,
        team=gallery.team,
        action="link.create",
        target=link,
        after={
            "gallery": gallery.slug,
            "title": title,
            "expires_at": link.expires_at.isoformat(),
            "password": bool(password),
            "show_names": link.show_names,
            "show_details": link.show_details,
            "allow_download": link.allow_download,
            "keep_place": link.keep_place,
        },
    )
    return link, token


def _end(now: datetime, days: int) -> datetime:
    return now + timedelta(days=days)


@transaction.atomic
def revoke_link(*, actor: Actor, link: ShareLink) -> ShareLink:
    """Revoke a link for good. A revoked link stays as it is."""
    now = timezone.now()
    if ShareLink.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=now):
        audit.record(actor=actor, team=link.gallery.team, action="link.revoke", target=link)
    link.refresh_from_db()
    return link


def record_visit(*, link: ShareLink) -> None:
    """Count a visit by the link. The audit log gets counts, at intervals."""
    share_links.count_visit(link)


@transaction.atomic
def record_link_download(*, link: ShareLink, count: int) -> None:
    audit.record(
        actor=share_links.bearer_of(link),
        team=link.gallery.team,
        action="link.download",
        target=link,
        after={"photos": count},
    )
