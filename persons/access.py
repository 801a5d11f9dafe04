"""Who may see and change what. Pages, REST, media and proxy ask here and nowhere else.

A stranger gets 404, as if there were nothing; a member whose role does not reach gets 403. Auditors
see spaces, history, evidence and audit, the whole of them, and change nothing. The lists of people
are not for them (403), and a person is not there for them (404). Of galleries there are for them
those that an owner shares with them, open or closed, with their photos and faces: to look at.

A gallery is open to the whole team, or closed: to its own members and the team's owners alone. For
everybody else a closed gallery, its photos and its faces are not there (404), and whatever lists or
counts photos or faces of more than one gallery goes through `photos_seen_by` or `faces_seen_by`.
People are the team's, so their names are seen by all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.http import Http404

from persons.models import (
    ApiKey,
    AuditEntry,
    Call,
    Change,
    Consent,
    Enrolment,
    Face,
    Finding,
    Gallery,
    GalleryMember,
    Grouping,
    Invitation,
    LegalHold,
    Likeness,
    Membership,
    Person,
    Photo,
    Recognition,
    Role,
    Run,
    ShareLink,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.faces import FaceQuerySet
from persons.models.galleries import PhotoQuerySet

Asker = User | AnonymousUser
M = TypeVar("M", bound=Model)


class Right(Enum):
    RECORDS = "see spaces, history and audit"
    GALLERIES = "see galleries, photos and people"
    EDIT = "upload, name and decide"
    MANAGE = "manage members and spaces"
    AUDIT = "export the audit or have it verified"


RIGHTS: dict[str, frozenset[Right]] = {
    Role.OWNER: frozenset(Right),
    Role.EDITOR: frozenset({Right.RECORDS, Right.GALLERIES, Right.EDIT}),
    Role.VIEWER: frozenset({Right.RECORDS, Right.GALLERIES}),
    Role.AUDITOR: frozenset({Right.RECORDS, Right.AUDIT}),
}


_known: ContextVar[dict[int, list[Membership]] | None] = ContextVar("known", default=None)


@contextmanager
def asking_once() -> Iterator[None]:
    """Within it, the database is asked once which teams somebody is in: for one request."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def memberships_of(user: Asker) -> list[Membership]:
    """With their teams, by the teams' names. None for a stranger."""
    if user.pk is None:
        return []
    known = _known.get()
    if known is not None and user.pk in known:
        return known[user.pk]
    found = list(Membership.objects.filter(user=user).select_related("team").order_by("team__name"))
    if known is not None:
        known[user.pk] = found
    return found


def rights_of(user: Asker, team: Team) -> frozenset[Right]:
    membership = _membership(user, team.slug)
    return RIGHTS[membership.role] if membership else frozenset()


def teams_for(user: Asker) -> QuerySet[Team]:
    if not user.is_authenticated:
        return Team.objects.none()
    return Team.objects.filter(memberships__user=user).order_by("name")


def team_for(user: Asker, slug: str, *, right: Right = Right.RECORDS) -> Team:
    membership = _membership(user, slug)
    if membership is None:
        raise Http404("There is no such team.")
    _demand(membership, right)
    return membership.team


# --- What of a team's galleries somebody sees ---


def hidden_from(user: Asker, team: Team, *, write: bool = False) -> frozenset[int]:
    """The team's galleries that are closed to this member; with `write`, those too in which they
    may only look. One query; usually there are none.

    An owner sees all, an auditor what is shared with them.
    """
    if not user.is_authenticated:
        return frozenset(Gallery.objects.filter(team=team).values_list("pk", flat=True))
    rights = rights_of(user, team)
    if Right.MANAGE in rights:
        return frozenset()
    named = GalleryMember.objects.filter(user=user)
    if write:
        named = named.filter(role=Role.EDITOR)
    closed = Gallery.objects.filter(team=team)
    if Right.GALLERIES in rights:
        closed = closed.filter(is_open=False)
    closed = closed.exclude(pk__in=named.values("gallery"))
    return frozenset(closed.order_by().values_list("pk", flat=True))


def sees_all(user: Asker, team: Team) -> bool:
    """Whether no gallery of the team is closed to `user`."""
    return Right.GALLERIES in rights_of(user, team) and not hidden_from(user, team)


def galleries_seen_by(user: Asker, team: Team) -> QuerySet[Gallery]:
    """The team's galleries that `user` may open, in one query when it is evaluated."""
    if not user.is_authenticated:
        return Gallery.objects.none()
    membership = Membership.objects.filter(team=team, user=user)
    named = GalleryMember.objects.filter(gallery=OuterRef("pk"), user=user)
    looks = membership.filter(role__in=_roles_with(Right.GALLERIES))
    owns = membership.filter(role=Role.OWNER)
    return Gallery.objects.filter(
        Q(Q(is_open=True), Exists(looks)) | Q(Exists(named), Exists(membership)) | Exists(owns),
        team=team,
    )


def galleries_written_by(user: Asker, team: Team) -> QuerySet[Gallery]:
    """Those that `user` may add photos to, and take them from."""
    seen = galleries_seen_by(user, team)
    if not user.is_authenticated or Right.EDIT not in rights_of(user, team):
        return seen.none()
    named = GalleryMember.objects.filter(gallery=OuterRef("pk"), user=user, role=Role.EDITOR)
    owns = Membership.objects.filter(team=team, user=user, role=Role.OWNER)
    return seen.filter(Q(is_open=True) | Exists(named) | Exists(owns))


def photos_seen_by(user: Asker, team: Team, photos: PhotoQuerySet) -> PhotoQuerySet:
    """Those of the team's `photos` that `user`, who may see galleries, sees. Who asks for more than
    one thing takes `hidden_from` once, and `outside` of each."""
    return photos.outside(hidden_from(user, team))


def faces_seen_by(user: Asker, team: Team, faces: FaceQuerySet) -> FaceQuerySet:
    """As `photos_seen_by`."""
    return faces.outside(hidden_from(user, team))


def rights_in(user: Asker, gallery: Gallery) -> frozenset[Right]:
    """What `user` may do in this gallery: the team's role, and in a closed gallery no more than
    the gallery's own."""
    rights = rights_of(user, gallery.team)
    if rights and Right.GALLERIES not in rights:
        return rights | {Right.GALLERIES} if _role_in(user.pk, gallery) else rights
    if gallery.is_open or Right.MANAGE in rights:
        return rights
    role = _role_in(user.pk, gallery)
    return rights & RIGHTS[role] if role else rights - {Right.GALLERIES, Right.EDIT}


def gallery_for(
    user: Asker, team: str, slug: str, *, write: bool = False, right: Right | None = None
) -> Gallery:
    """`right` is demanded over and above seeing it, as MANAGE for who may share it."""
    membership = _member_of_shared(user, team, write=write)
    gallery = _one(
        Gallery.objects.select_related("team", "space").filter(_seen(membership)),
        team=membership.team_id,
        slug=slug,
    )
    if right is not None:
        _demand(membership, right)
    return _writable(membership, gallery) if write else gallery


def photo_for(
    user: Asker, team: str, pk: int, *, write: bool = False, trashed: bool = False
) -> Photo:
    """`trashed`: one that was thrown away is meant, and no other."""
    membership = _member_of_shared(user, team, write=write)
    photos = Photo.everything.exclude(trashed_at=None) if trashed else Photo.objects.all()
    photo = _one(
        photos.select_related("gallery__team", "gallery__space", "uploaded_by", "run").filter(
            _seen(membership, "gallery__")
        ),
        gallery__team=membership.team_id,
        pk=pk,
    )
    if write:
        _writable(membership, photo.gallery)
    return photo


def face_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Face:
    membership = _member_of_shared(user, team, write=write)
    face = _one(
        Face.objects.select_related(
            "photo__gallery__team", "photo__gallery__space", "person", "decided_by"
        ).filter(_seen(membership, "photo__gallery__")),
        photo__gallery__team=membership.team_id,
        pk=pk,
    )
    if write:
        _writable(membership, face.photo.gallery)
    return face


def faces_for(user: Asker, team: str, pks: Iterable[int], *, write: bool = False) -> FaceQuerySet:
    """Those of these faces that are there for `user`; with `write`, that they may decide on."""
    membership = _member_of_galleries(user, team, write=write)
    seen = Face.objects.filter(_seen(membership, "photo__gallery__", write=write))
    return seen.filter(photo__gallery__team=membership.team_id, pk__in=set(pks))


# --- A team's people, spaces and records ---


def person_for(
    user: Asker, team: str, number: int, person_id: int, *, write: bool = False
) -> Person:
    membership = _member_of_galleries(user, team, write=write)
    return _one(
        Person.objects.select_related("space__team", "cover"),
        space__team=membership.team_id,
        space__number=number,
        person_id=person_id,
    )


def grouping_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Grouping:
    """Of a gallery that is there for `user`, or of a whole space."""
    membership = _member_of_galleries(user, team, write=write)
    grouping = _one(
        Grouping.objects.select_related("space__team", "gallery", "requested_by").filter(
            _seen(membership, "gallery__", or_none="gallery")
        ),
        space__team=membership.team_id,
        pk=pk,
    )
    if write and grouping.gallery is not None:
        _writable(membership, grouping.gallery)
    return grouping


def enrolment_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Enrolment:
    membership = _member_of_galleries(user, team, write=write)
    # One whose face is gone, or that a client sent, is of no gallery.
    seen = _seen(membership, "face__photo__gallery__", or_none="face")
    return _one(
        Enrolment.objects.select_related("person__space__team").filter(seen),
        person__space__team=membership.team_id,
        pk=pk,
    )


def change_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Change:
    """What somebody decided of people of the team, for whoever may see people."""
    membership = _member_of_galleries(user, team, write=write)
    return _one(
        Change.objects.select_related("team", "space", "person", "other"),
        team=membership.team_id,
        pk=pk,
    )


def consent_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Consent:
    membership = _member_of_galleries(user, team, write=write)
    return _one(
        Consent.objects.select_related("person__space__team"),
        person__space__team=membership.team_id,
        pk=pk,
    )


def hold_for(user: Asker, team: str, pk: int) -> LegalHold:
    """A legal hold that `user`, an owner, may release. That there is one, every member sees."""
    return _one(
        LegalHold.objects.select_related("team", "person", "gallery"),
        team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def likeness_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Likeness:
    membership = _member_of_galleries(user, team, write=write)
    return _one(
        Likeness.objects.select_related("space__team", "one", "other"),
        space__team=membership.team_id,
        pk=pk,
    )


def run_for(user: Asker, team: str, pk: int) -> Run:
    membership = _member_of_galleries(user, team)
    return _one(
        Run.objects.select_related("space__team", "person"),
        space__team=membership.team_id,
        pk=pk,
    )


def space_for(user: Asker, team: str, number: int, *, right: Right = Right.RECORDS) -> Space:
    return _one(
        Space.objects.select_related("team"),
        team=team_for(user, team, right=right),
        number=number,
    )


def space_job_for(
    user: Asker, team: str, number: int, pk: int, *, right: Right = Right.RECORDS
) -> SpaceJob:
    """A snapshot, truncation or restore of one of the team's spaces."""
    return _one(
        SpaceJob.objects.select_related("team", "space__team", "requested_by", "snapshot"),
        team=team_for(user, team, right=right),
        space__number=number,
        pk=pk,
    )


def call_for(user: Asker, team: str, pk: int) -> Call:
    return _one(
        Call.objects.select_related("team", "space", "actor", "key"),
        team=team_for(user, team),
        pk=pk,
    )


def recognition_for(user: Asker, team: str, pk: int) -> Recognition:
    """With the right to its photo: the picture of a recognition is a picture of a gallery."""
    membership = _member_of_galleries(user, team)
    seen = _seen(membership, "photo__gallery__", or_none="photo")
    return _one(
        Recognition.objects.select_related("photo__gallery").filter(seen),
        call__team=membership.team_id,
        pk=pk,
    )


def finding_for(user: Asker, team: str, call: int, recognition: int, position: int) -> Finding:
    """One face of one answer, for whoever may read the records: auditors too. Of a photo in a
    gallery that is closed to `user`, now or when it was recognised, it is not there."""
    return _finding(user, team, call=call, recognition=recognition, position=position)


def finding_by_pk(user: Asker, team: str, pk: int) -> Finding:
    return _finding(user, team, pk=pk)


def _finding(user: Asker, team: str, **lookup: int) -> Finding:
    found = _one(
        Finding.objects.select_related(
            "team",
            "call__team",
            "call__space",
            "call__actor",
            "call__key",
            "recognition__photo__gallery",
            "person__space",
        ),
        team=team_for(user, team),
        **lookup,
    )
    if finding_is_closed(found, records_hidden_from(user, found.team)):
        raise Http404("There is no such page.")
    return found


def records_hidden_from(user: Asker, team: Team) -> frozenset[int]:
    """The galleries of which the records tell `user` nothing. Auditors read the whole record."""
    hidden = hidden_from(user, team)
    return hidden if hidden and Right.GALLERIES in rights_of(user, team) else frozenset()


def finding_is_closed(finding: Finding, hidden: Collection[int]) -> bool:
    photo = finding.recognition.photo
    return finding.gallery_id in hidden or (photo is not None and photo.gallery_id in hidden)


def membership_for(user: Asker, team: str, pk: int) -> Membership:
    """A membership that `user`, an owner, may change."""
    return _one(
        Membership.objects.select_related("user", "team"),
        team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def invitation_for(user: Asker, team: str, pk: int) -> Invitation:
    return _one(
        Invitation.objects.select_related("team"),
        team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def key_for(user: Asker, team: str, pk: int) -> ApiKey:
    """An API key that `user`, an owner, may revoke. That there is one, every member sees."""
    return _one(
        ApiKey.objects.select_related("team"),
        team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def gallery_member_for(user: Asker, team: str, slug: str, pk: int) -> GalleryMember:
    """Somebody's place in a gallery that `user`, an owner, may change."""
    gallery = gallery_for(user, team, slug, right=Right.MANAGE)
    return _one(
        GalleryMember.objects.select_related("gallery__team", "user"), gallery=gallery, pk=pk
    )


def link_for(user: Asker, team: str, pk: int) -> ShareLink:
    """A public link that `user`, an owner, may revoke."""
    return _one(
        ShareLink.objects.select_related("gallery__team"),
        gallery__team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def audit_for(user: Asker, team: str) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(team=team_for(user, team)).select_related("actor")


def _membership(user: Asker, slug: str) -> Membership | None:
    return next((one for one in memberships_of(user) if one.team.slug == slug), None)


def _member_of_galleries(user: Asker, team: str, *, write: bool = False) -> Membership:
    membership = _membership(user, team)
    if membership is None or Right.GALLERIES not in RIGHTS[membership.role]:
        raise Http404("There is no such page.")
    if write:
        _demand(membership, Right.EDIT)
    return membership


def _member_of_shared(user: Asker, team: str, *, write: bool = False) -> Membership:
    """As `_member_of_galleries`, and auditors: `_seen` leaves them what is shared with them, and
    `_writable` nothing."""
    membership = _membership(user, team)
    if membership is not None and membership.role == Role.AUDITOR:
        return membership
    return _member_of_galleries(user, team, write=write)


def _seen(
    membership: Membership, gallery: str = "", *, write: bool = False, or_none: str = ""
) -> Q:
    """What a member sees; `gallery` leads from a row to its gallery, as in "photo__gallery__".

    With `write`: what a member who may edit at all may write in. Rows whose `or_none` is null are
    of no gallery, and seen by all.
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


def _writable(membership: Membership, gallery: Gallery) -> Gallery:
    """A closed gallery's own role counts as well: the lesser of the two."""
    _demand(membership, Right.EDIT)
    if gallery.is_open or membership.role == Role.OWNER:
        return gallery
    if _role_in(membership.user_id, gallery) != Role.EDITOR:
        raise PermissionDenied(
            f"You may look at {gallery}, not change it. An owner of {membership.team} can let you."
        )
    return gallery


def _role_in(user_pk: int | None, gallery: Gallery) -> str | None:
    named = GalleryMember.objects.filter(gallery=gallery, user=user_pk)
    return named.values_list("role", flat=True).first()


def _roles_with(right: Right) -> list[str]:
    return [role for role, rights in RIGHTS.items() if right in rights]


def _demand(membership: Membership, right: Right) -> None:
    if right not in RIGHTS[membership.role]:
        role = Role(membership.role).label.lower()
        raise PermissionDenied(f"Your role in {membership.team} is {role}: it can't {right.value}.")


def _one(queryset: QuerySet[M], **lookup: Any) -> M:
    found = queryset.filter(**lookup).first()
    if found is None:
        raise Http404("There is no such page.")
    return found
