"""One photo with its faces, and decisions about faces."""

from __future__ import annotations

from django.db.models import Prefetch, prefetch_related_objects
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from persons.access import face_for, photo_for
from persons.actions.faces import clear_decision, ignore_face, name_face, reject_person
from persons.actions.photos import recognise_photo_again
from persons.models import Face, Photo
from persons.rest.base import WRITE, View, answers
from persons.rest.serializers.photos import (
    FaceSerializer,
    NameFaceSerializer,
    PhotoWithFacesSerializer,
)


class OnePhoto(View):
    @extend_schema(responses=answers(PhotoWithFacesSerializer))
    def get(self, request: Request, team: str, pk: int) -> Response:
        return _shown(self, photo_for(request.user, team, pk))


class RecognisePhoto(View):
    """Recognise a finished photo again, or retry a failed one. Running work is not interrupted."""

    @extend_schema(request=None, responses=answers(PhotoWithFacesSerializer, WRITE, status=202))
    def post(self, request: Request, team: str, pk: int) -> Response:
        photo = photo_for(request.user, team, pk, write=True)
        return _shown(self, recognise_photo_again(actor=self.actor, photo=photo), 202)


def _shown(view: View, photo: Photo, status: int = 200) -> Response:
    faces = Face.objects.select_related("person", "decided_by")
    prefetch_related_objects([photo], Prefetch("faces", faces))
    shown = photo.gallery.space.show_attributes
    return view.one(photo, PhotoWithFacesSerializer, status, show_attributes=shown)


class NameFace(View):
    """Name the face. The person is created in the gallery's space if need be, and enrolled."""

    @extend_schema(request=NameFaceSerializer, responses=answers(FaceSerializer, WRITE))
    def post(self, request: Request, team: str, pk: int) -> Response:
        face = face_for(request.user, team, pk, write=True)
        body = self.body(NameFaceSerializer)
        return _decided(self, name_face(actor=self.actor, face=face, label=body["label"]).face)


class RejectPerson(View):
    """Reject the face's present identity."""

    @extend_schema(request=None, responses=answers(FaceSerializer, WRITE))
    def post(self, request: Request, team: str, pk: int) -> Response:
        face = face_for(request.user, team, pk, write=True)
        return _decided(self, reject_person(actor=self.actor, face=face, person=face.person))


class IgnoreFace(View):
    """Ignore the face: it no longer waits for a name."""

    @extend_schema(request=None, responses=answers(FaceSerializer, WRITE))
    def post(self, request: Request, team: str, pk: int) -> Response:
        face = face_for(request.user, team, pk, write=True)
        return _decided(self, ignore_face(actor=self.actor, face=face))


class ClearDecision(View):
    """Take back all decisions on this face."""

    @extend_schema(request=None, responses=answers(FaceSerializer, WRITE))
    def post(self, request: Request, team: str, pk: int) -> Response:
        face = face_for(request.user, team, pk, write=True)
        return _decided(self, clear_decision(actor=self.actor, face=face))


def _decided(view: View, face: Face) -> Response:
    shown = face.photo.gallery.space.show_attributes
    return view.one(face, FaceSerializer, show_attributes=shown)
