"""Access to many objects at once: each function returns only the rows that the user may use.

`pks` are the keys that a request names; None means all. Rows that the user doesn't see are left
out, like rows that don't exist. With `write`, PermissionDenied is raised if the role can't edit, or
if `pks` name a row that the user may see but not change, so that no action is done in part.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q
from django.http import Http404

from persons.access.galleries import hidden_from
from persons.access.roles import RIGHTS, Asker, Right, demand, membership_in, rights_of
from persons.inputs.params import LARGEST
from persons.models import Call, Change, ChangedFace, Face, Person, Photo, Team
from persons.models.calls import CallQuerySet
from persons.models.changes import ChangeKind, ChangeQuerySet
from persons.models.faces import FaceQuerySet
from persons.models.galleries import PhotoQuerySet
from persons.models.people import PersonQuerySet


def faces(
    user: Asker, team: Team, pks: Iterable[int] | None = None, *, write: bool = False
) -> FaceQuerySet:
    """Faces on photos that are not in the trash."""
    hidden = _hidden(user, team, write=write)
    rows: FaceQuerySet = Face.objects.filter(space__team=team)
    if pks is not None:
        rows = rows.filter(pk__in=_possible(pks))
        if write:
            _demand_writable(user, team, rows.filter(gallery__in=hidden) if hidden else None)
    return rows.outside(hidden)


def photos(
    user: Asker, team: Team, pks: Iterable[int] | None = None, *, write: bool = False
) -> PhotoQuerySet:
    """Photos that are not in the trash."""
    hidden = _hidden(user, team, write=write)
    rows: PhotoQuerySet = Photo.objects.filter(gallery__team=team)
    if pks is not None:
        rows = rows.filter(pk__in=_possible(pks))
        if write:
            _demand_writable(user, team, rows.filter(gallery__in=hidden) if hidden else None)
    return rows.outside(hidden)


def people(
    user: Asker, team: Team, pks: Iterable[int] | None = None, *, write: bool = False
) -> PersonQuerySet:
    """The team's people, except those being erased, for everybody who may see galleries."""
    _demand_role(user, team, write=write, right=Right.GALLERIES)
    rows = Person.objects.filter(space__team=team, erasing=False)
    return rows if pks is None else rows.filter(pk__in=_possible(pks))


def calls(user: Asker, team: Team, pks: Iterable[int] | None = None) -> CallQuerySet:
    """The team's calls, for every member. `access.records` limits their pictures and answers."""
    if membership_in(user, team.slug) is None:
        raise Http404("There is no such page.")
    rows = Call.objects.filter(team=team)
    return rows if pks is None else rows.filter(pk__in=_possible(pks))


def changes(
    user: Asker, team: Team, pks: Iterable[int] | None = None, *, write: bool = False
) -> ChangeQuerySet:
    """Changes of faces that the user sees; with `write`, changes that the user may undo.

    A change is returned only if all its faces are. A change whose faces were deleted is returned
    only to users who see all galleries.
    """
    _demand_role(user, team, write=write, right=Right.GALLERIES)
    hidden = _hidden(user, team, write=write)
    rows: ChangeQuerySet = Change.objects.filter(team=team)
    if pks is not None:
        rows = rows.filter(pk__in=_possible(pks))
        if write:
            theirs = _concerns_any_of(hidden_from(user, team, write=True))
            _demand_writable(user, team, rows.filter(theirs) if hidden else None)
    return rows.exclude(_concerns_any_of(hidden)) if hidden else rows


def _possible(pks: Iterable[int]) -> set[int]:
    """`pks` without numbers beyond the column's range, which would be a database error."""
    return {pk for pk in pks if abs(pk) <= LARGEST}


def _concerns_any_of(hidden: frozenset[int]) -> Q:
    """Condition for changes to withhold from users to whom these galleries are closed."""
    rows = ChangedFace.objects.filter(change=OuterRef("pk"))
    inside = Exists(rows.filter(face__gallery__in=hidden))
    return Q(inside) | ~Q(Exists(rows)) & ~Q(kind=ChangeKind.MERGE) & Q(face_count__gt=0)


def _hidden(user: Asker, team: Team, *, write: bool) -> frozenset[int]:
    _demand_role(user, team, write=write)
    return hidden_from(user, team, write=write)


def _demand_role(user: Asker, team: Team, *, write: bool, right: Right = Right.RECORDS) -> None:
    """Raise Http404 without `right`, and PermissionDenied for `write` without Right.EDIT.

    Auditors pass by default: `hidden_from` limits them to what is shared with them.
    """
    membership = membership_in(user, team.slug)
    if membership is None or right not in RIGHTS[membership.role]:
        raise Http404("There is no such page.")
    if write:
        demand(membership, Right.EDIT)


def _demand_writable(
    user: Asker, team: Team, refused: FaceQuerySet | PhotoQuerySet | ChangeQuerySet | None
) -> None:
    """Raise PermissionDenied if the user sees any of `refused`.

    `refused` are rows that the request named and the user may not change; None means none.
    """
    if refused is None or Right.EDIT not in rights_of(user, team):
        return
    unseen = hidden_from(user, team)
    if isinstance(refused, ChangeQuerySet):
        is_seen = (refused.exclude(_concerns_any_of(unseen)) if unseen else refused).exists()
    else:
        is_seen = refused.outside(unseen).exists()
    if is_seen:
        raise PermissionDenied(
            "Some of these are in a gallery that you may look at, not change. An owner of "
            f"{team} can let you."
        )
