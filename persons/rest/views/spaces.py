"""Spaces, the people in them, and their enrolments."""

from __future__ import annotations

from dataclasses import fields

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from persons import access
from persons.access import (
    Right,
    enrolment_for,
    person_for,
    space_for,
    team_for,
)
from persons.actions.people import remove_enrolment, rename_person, retry_enrolment
from persons.actions.spaces import Policy, change_policy
from persons.models import Person, Space
from persons.models.people import PersonQuerySet
from persons.rest.base import WRITE, View, answers
from persons.rest.pagination import ByNumber
from persons.rest.serializers.people import (
    EnrolmentSerializer,
    PersonSerializer,
    RenamePersonSerializer,
)
from persons.rest.serializers.spaces import PolicySerializer, SpaceSerializer


class Spaces(View):
    pagination_class = ByNumber

    @extend_schema(responses=answers(SpaceSerializer(many=True)))
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team)
        return self.page(Space.objects.filter(team=found).with_counts(), SpaceSerializer)


class OneSpace(View):
    @extend_schema(responses=answers(SpaceSerializer))
    def get(self, request: Request, team: str, number: int) -> Response:
        return self._shown(space_for(request.user, team, number))

    @extend_schema(request=PolicySerializer, responses=answers(SpaceSerializer, WRITE))
    def patch(self, request: Request, team: str, number: int) -> Response:
        """Change the name and policy; fields that are not sent stay unchanged. For owners."""
        space = space_for(request.user, team, number, right=Right.MANAGE)
        chosen = {field.name: getattr(space, field.name) for field in fields(Policy)}
        chosen |= self.body(PolicySerializer, partial=True)
        return self._shown(change_policy(actor=self.actor, space=space, policy=Policy(**chosen)))

    def _shown(self, space: Space) -> Response:
        return self.one(Space.objects.with_counts().get(pk=space.pk), SpaceSerializer)


class People(View):
    @extend_schema(responses=answers(PersonSerializer(many=True)))
    def get(self, request: Request, team: str, number: int) -> Response:
        space = space_for(request.user, team, number, right=Right.GALLERIES)
        self.look_through(space.team)
        people = _listed(request, space).filter(space=space).unmerged()
        return self.page(people, PersonSerializer)


def _listed(request: Request, space: Space) -> PersonQuerySet:
    return access.visible(request.user, space.team).with_counts(Person.objects.all())


class OnePerson(View):
    @extend_schema(responses=answers(PersonSerializer))
    def get(self, request: Request, team: str, number: int, person_id: int) -> Response:
        person = person_for(request.user, team, number, person_id)
        self.look_up(person)
        return self._shown(person)

    @extend_schema(request=RenamePersonSerializer, responses=answers(PersonSerializer, WRITE))
    def patch(self, request: Request, team: str, number: int, person_id: int) -> Response:
        person = person_for(request.user, team, number, person_id, write=True)
        self.look_up(person)
        body = self.body(RenamePersonSerializer)
        return self._shown(rename_person(actor=self.actor, person=person, label=body["label"]))

    def _shown(self, person: Person) -> Response:
        return self.one(_listed(self.request, person.space).get(pk=person.pk), PersonSerializer)


class Enrolments(View):
    """All pictures of a person that were sent to Vision, removed ones included."""

    @extend_schema(responses=answers(EnrolmentSerializer(many=True)))
    def get(self, request: Request, team: str, number: int, person_id: int) -> Response:
        person = person_for(request.user, team, number, person_id)
        self.look_up(person)
        return self.page(
            access.visible(request.user, person.space.team).pictures_of(person).for_list(),
            EnrolmentSerializer,
        )


class RemoveEnrolment(View):
    """Remove this picture from Vision; a worker does it."""

    @extend_schema(request=None, responses=answers(EnrolmentSerializer, WRITE))
    def post(self, request: Request, team: str, pk: int) -> Response:
        enrolment = enrolment_for(request.user, team, pk, write=True)
        changed = remove_enrolment(actor=self.actor, enrolment=enrolment)
        return self.one(changed, EnrolmentSerializer)


class RetryEnrolment(View):
    """Send a picture again that Vision refused."""

    @extend_schema(request=None, responses=answers(EnrolmentSerializer, WRITE))
    def post(self, request: Request, team: str, pk: int) -> Response:
        enrolment = enrolment_for(request.user, team, pk, write=True)
        return self.one(retry_enrolment(actor=self.actor, enrolment=enrolment), EnrolmentSerializer)
