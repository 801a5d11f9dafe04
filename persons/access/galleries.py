"""Access to galleries, and to single photos and faces in them."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from persons.access.roles import (
    RIGHTS,
    Asker,
    Right,
    demand,
    kept_for_request,
    member_of_shared,
    one_of,
    rights_of,
    roles_with,
)
from persons.models import Face, Gallery, GalleryMember, Membership, Photo, Role, Team


def hidden_from(user: Asker, team: Team, *, write: bool = False) -> frozenset[int]:
    """Pks of the team's galleries that are closed to this user. Empty for owners.

    With `write`, also those that the user may see but not change. Costs one query per request.
    """
    if not user.is_authenticated:
        return frozenset(Gallery.objects.filter(team=team).values_list("pk", flat=True))
    rights = rights_of(user, team)
    if Right.MANAGE in rights:
        return frozenset()
    closed = kept_for_request(
        f"closed:{user.pk}:{team.pk}", lambda: _closed_to_the_team(user, team, rights)
    )
    return frozenset(pk for pk, role in closed if role is None or (write and role != Role.EDITOR))


def _closed_to_the_team(
    user: Asker, team: Team, rights: frozenset[Right]
) -> list[tuple[int, str | None]]:
    """(gallery pk, own role in it or None) of galleries that the team role alone doesn't open."""
    closed = Gallery.objects.filter(team=team)
    if Right.GALLERIES in rights:
        closed = closed.filter(is_open=False)
    named = GalleryMember.objects.filter(gallery=OuterRef("pk"), user=user.pk)
    mine = closed.annotate(my_role=Subquery(named.values("role")[:1]))
    return list(mine.order_by().values_list("pk", "my_role"))


def galleries_seen_by(user: Asker, team: Team) -> QuerySet[Gallery]:
    """The team's galleries that `user` may see, as one query."""
    if not user.is_authenticated:
        return Gallery.objects.none()
    membership = Membership.objects.filter(team=team, user=user)
    named = GalleryMember.objects.filter(gallery=OuterRef("pk"), user=user)
    looks = membership.filter(role__in=roles_with(Right.GALLERIES))
    owns = membership.filter(role=Role.OWNER)
    return Gallery.objects.filter(
        Q(Q(is_open=True), Exists(looks)) | Q(Exists(named), Exists(membership)) | Exists(owns),
        team=team,
    )


def galleries_written_by(user: Asker, team: Team) -> QuerySet[Gallery]:
    """The team's galleries that `user` may add photos to and remove photos from."""
    seen = galleries_seen_by(user, team)
    if not user.is_authenticated or Right.EDIT not in rights_of(user, team):
        return seen.none()
    named = GalleryMember.objects.filter(gallery=OuterRef("pk"), user=user, role=Role.EDITOR)
    owns = Membership.objects.filter(team=team, user=user, role=Role.OWNER)
    return seen.filter(Q(is_open=True) | Exists(named) | Exists(owns))


def rights_in(user: Asker, gallery: Gallery) -> frozenset[Right]:
    """What `user` may do in this gallery.

    In a closed gallery, the role in the gallery limits the rights of the role in the team.
    """
    rights = rights_of(user, gallery.team)
    if rights and Right.GALLERIES not in rights:
        return rights | {Right.GALLERIES} if role_in(user.pk, gallery) else rights
    if gallery.is_open or Right.MANAGE in rights:
        return rights
    role = role_in(user.pk, gallery)
    return rights & RIGHTS[role] if role else rights - {Right.GALLERIES, Right.EDIT}


def gallery_for(
    user: Asker, team: str, slug: str, *, write: bool = False, right: Right | None = None
) -> Gallery:
    """A gallery that `user` sees. `right` is demanded in addition, such as MANAGE to share it."""
    membership = member_of_shared(user, team, write=write)
    gallery = one_of(
        Gallery.objects.select_related("team", "space").filter(seen_by(membership)),
        team=membership.team_id,
        slug=slug,
    )
    if right is not None:
        demand(membership, right)
    return writable(membership, gallery) if write else gallery


def photo_for(
    user: Asker, team: str, pk: int, *, write: bool = False, trashed: bool = False
) -> Photo:
    """A photo that `user` sees. With `trashed`, only photos in the trash are found."""
    membership = member_of_shared(user, team, write=write)
    photos = Photo.everything.exclude(trashed_at=None) if trashed else Photo.objects.all()
    photo = one_of(
        photos.select_related("gallery__team", "gallery__space", "uploaded_by", "run").filter(
            seen_by(membership, "gallery__")
        ),
        gallery__team=membership.team_id,
        pk=pk,
    )
    if write:
        writable(membership, photo.gallery)
    return photo


def face_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Face:
    membership = member_of_shared(user, team, write=write)
    face = one_of(
        Face.objects.select_related(
            "photo__gallery__team", "photo__gallery__space", "person", "decided_by"
        ).filter(seen_by(membership, "photo__gallery__")),
        photo__gallery__team=membership.team_id,
        pk=pk,
    )
    if write:
        writable(membership, face.photo.gallery)
    return face


def seen_by(
    membership: Membership, gallery: str = "", *, write: bool = False, or_none: str = ""
) -> Q:
    """Condition for rows in galleries that a member sees, or with `write` may change.

    `gallery` is the lookup prefix from a row to its gallery, such as "photo__gallery__". Rows whose
    column `or_none` is null belong to no gallery; every member but auditors sees them. `write`
    assumes that the caller checked Right.EDIT.
    """
    if membership.role == Role.OWNER:
        return Q()
    named = GalleryMember.objects.filter(user=membership.user_id)
    if write:
        named = named.filter(role=Role.EDITOR)
    seen = Q(**{f"{gallery}pk__in": named.values("gallery")})
    if membership.role == Role.AUDITOR:
        return seen
    seen |= Q(**{f"{gallery}is_open": True})
    return seen | Q(**{or_none: None}) if or_none else seen


def writable(membership: Membership, gallery: Gallery) -> Gallery:
    """Return `gallery`, or raise PermissionDenied if the member may not change it.

    In a closed gallery, both the role in the team and the role in the gallery must allow it.
    """
    demand(membership, Right.EDIT)
    if gallery.is_open or membership.role == Role.OWNER:
        return gallery
    if role_in(membership.user_id, gallery) != Role.EDITOR:
        raise PermissionDenied(
            f"You may look at {gallery}, not change it. An owner of {membership.team} can let you."
        )
    return gallery


def role_in(user_pk: int | None, gallery: Gallery) -> str | None:
    named = GalleryMember.objects.filter(gallery=gallery, user=user_pk)
    return named.values_list("role", flat=True).first()
