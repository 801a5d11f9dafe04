"""Access to one person, or to one consent, picture, change, grouping or likeness of people."""

from __future__ import annotations

from persons.access.galleries import hidden_from, seen_by, writable
from persons.access.roles import Asker, Right, member_of_galleries, one_of, team_for
from persons.access.rows import changes
from persons.models import Change, Consent, Enrolment, Grouping, Likeness, Person


def person_for(
    user: Asker, team: str, number: int, person_id: int, *, write: bool = False
) -> Person:
    membership = member_of_galleries(user, team, write=write)
    return one_of(
        Person.objects.select_related("space__team", "cover").filter(erasing=False),
        space__team=membership.team_id,
        space__number=number,
        person_id=person_id,
    )


def grouping_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Grouping:
    """A grouping of a gallery that `user` sees, or of a whole space."""
    membership = member_of_galleries(user, team, write=write)
    grouping = one_of(
        Grouping.objects.select_related("space__team", "gallery", "requested_by").filter(
            seen_by(membership, "gallery__", or_none="gallery")
        ),
        space__team=membership.team_id,
        pk=pk,
    )
    if write and grouping.gallery is not None:
        writable(membership, grouping.gallery)
    return grouping


def enrolment_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Enrolment:
    """A picture from a gallery that `user` sees, or one that a client sent."""
    membership = member_of_galleries(user, team, write=write)
    rows = Enrolment.objects.select_related("person__space__team", "gallery")
    found = one_of(
        rows.filter(person__erasing=False).outside(hidden_from(user, membership.team)),
        person__space__team=membership.team_id,
        pk=pk,
    )
    if write and found.gallery is not None:
        writable(membership, found.gallery)
    return found


def change_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Change:
    """A change of faces that `user` may all see, or of two people."""
    membership = member_of_galleries(user, team, write=write)
    rows = changes(user, membership.team, [pk], write=write)
    return one_of(rows.select_related("team", "space", "person", "other"))


def consent_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Consent:
    membership = member_of_galleries(user, team, write=write)
    return one_of(
        Consent.objects.select_related("person__space__team"),
        person__space__team=membership.team_id,
        pk=pk,
    )


def likeness_for(user: Asker, team: str, pk: int, *, write: bool = False) -> Likeness:
    membership = member_of_galleries(user, team, write=write)
    return one_of(
        Likeness.objects.select_related("space__team", "one", "other"),
        space__team=membership.team_id,
        pk=pk,
    )


def person_to_erase(user: Asker, team: str, number: int, person_id: int) -> Person:
    """A person whom `user`, an owner, may erase."""
    return one_of(
        Person.objects.select_related("space__team").filter(erasing=False),
        space__team=team_for(user, team, right=Right.MANAGE),
        space__number=number,
        person_id=person_id,
    )
