"""What an editor may change, a viewer may look at; an auditor, what is shared with them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from persons import access
from persons.access import Right
from persons.models import (
    Consent,
    Enrolment,
    EnrolmentState,
    GalleryMember,
    Grouping,
    Likeness,
    Role,
    Team,
    User,
)
from tests.support.factories import GalleryFactory, PersonFactory

pytestmark = pytest.mark.any_database


@pytest.fixture
def rows(team: Team) -> dict[Any, Any]:
    """By the helper that finds it."""
    space = GalleryFactory.create(team=team).space
    anna, bea = PersonFactory.create_batch(2, space=space)
    one, other = sorted((anna, bea), key=lambda person: person.pk)
    return {
        access.enrolment_for: Enrolment.objects.create(
            person=anna, image="enrolments/1/ab", sha256="ab", state=EnrolmentState.DONE
        ),
        access.consent_for: Consent.objects.create(person=anna, purpose="Photos of the trip"),
        access.grouping_for: Grouping.objects.create(space=space),
        access.likeness_for: Likeness.objects.create(
            space=space, one=one, other=other, similarity=0.5
        ),
    }


@pytest.mark.parametrize(
    "find",
    [access.enrolment_for, access.consent_for, access.grouping_for, access.likeness_for],
    ids=lambda find: find.__name__,
)
def test_a_viewer_looks_at_what_only_an_editor_changes(
    team: Team, rows: dict[Any, Any], bob: User, vera: User, find: Any
) -> None:
    row = rows[find]
    assert find(vera, team.slug, row.pk) == row
    assert find(bob, team.slug, row.pk, write=True) == row
    with pytest.raises(PermissionDenied):
        find(vera, team.slug, row.pk, write=True)


def test_an_auditor_sees_the_photos_of_a_gallery_that_is_shared_with_them(
    team: Team, audrey: User
) -> None:
    shared, other = GalleryFactory.create_batch(2, team=team)
    GalleryMember.objects.create(gallery=shared, user=audrey, role=Role.VIEWER)
    assert Right.GALLERIES in access.rights_in(audrey, shared)
    assert Right.GALLERIES not in access.rights_in(audrey, other)
    assert Right.EDIT not in access.rights_in(audrey, shared)
