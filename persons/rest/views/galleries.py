"""Galleries and uploads to them."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from django.core.files.uploadedfile import UploadedFile
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from persons.access import Right, galleries_seen_by, gallery_for, space_for, team_for
from persons.actions.galleries import create_gallery, rename_gallery
from persons.actions.photos import add_photo
from persons.decoding import DecodingBusy
from persons.images import ImageRefused
from persons.models import Gallery, Photo
from persons.rest.base import READ, WRITE, View, answers
from persons.rest.parsers import Uploads
from persons.rest.serializers.galleries import (
    GallerySerializer,
    NewGallerySerializer,
    RenameGallerySerializer,
)
from persons.rest.serializers.photos import (
    AddedSerializer,
    ListedPhotoSerializer,
    RefusedFileSerializer,
    SeveralUploadedSerializer,
    UploadSerializer,
)
from persons.rest.serializers.shared import ErrorSerializer


def _with_count(galleries: QuerySet[Gallery]) -> QuerySet[Gallery]:
    photos = Photo.objects.filter(gallery=OuterRef("pk")).order_by().values("gallery")
    counts = Subquery(photos.annotate(n=Count("*")).values("n"))
    return galleries.select_related("space").annotate(photo_count=Coalesce(counts, 0))


class Galleries(View):
    @extend_schema(responses=answers(GallerySerializer(many=True)))
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team, right=Right.GALLERIES)
        return self.page(_with_count(galleries_seen_by(request.user, found)), GallerySerializer)

    @extend_schema(
        request=NewGallerySerializer, responses=answers(GallerySerializer, WRITE, status=201)
    )
    def post(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team, right=Right.EDIT)
        body = self.body(NewGallerySerializer)
        space = space_for(request.user, team, body.pop("space"), right=Right.EDIT)
        gallery = create_gallery(actor=self.actor, team=found, space=space, **body)
        return _shown(self, gallery, 201)


class OneGallery(View):
    @extend_schema(responses=answers(GallerySerializer))
    def get(self, request: Request, team: str, slug: str) -> Response:
        return _shown(self, gallery_for(request.user, team, slug))

    @extend_schema(request=RenameGallerySerializer, responses=answers(GallerySerializer, WRITE))
    def patch(self, request: Request, team: str, slug: str) -> Response:
        gallery = gallery_for(request.user, team, slug, write=True)
        rename_gallery(actor=self.actor, gallery=gallery, **self.body(RenameGallerySerializer))
        return _shown(self, gallery)


def _shown(view: View, gallery: Gallery, status: int = 200) -> Response:
    counted = _with_count(Gallery.objects.filter(pk=gallery.pk)).get()
    return view.one(counted, GallerySerializer, status)


class Photos(View):
    parser_classes = [Uploads]

    @extend_schema(responses=answers(ListedPhotoSerializer(many=True)))
    def get(self, request: Request, team: str, slug: str) -> Response:
        gallery = gallery_for(request.user, team, slug)
        photos = Photo.objects.filter(gallery=gallery).for_grid()
        return self.page(photos.select_related("gallery", "uploaded_by"), ListedPhotoSerializer)

    @extend_schema(
        request={"multipart/form-data": UploadSerializer},
        responses={
            200: AddedSerializer,
            201: AddedSerializer,
            207: SeveralUploadedSerializer,
            413: ErrorSerializer,
            422: RefusedFileSerializer,
        }
        | dict.fromkeys((400, *READ), ErrorSerializer),
    )
    def post(self, request: Request, team: str, slug: str) -> Response:
        """Send photos as `file`. One file is answered by 201 (new), 200 (a duplicate, `is_new` is
        false) or 422 (refused); several by 207 with one of these for each. A refused file doesn't
        stop the others."""
        gallery = gallery_for(request.user, team, slug, write=True)
        uploads = request.FILES.getlist("file")
        if not uploads:
            raise ValidationError({"file": ["Send a file, or several, under this name."]})
        added = [self._add(gallery, upload) for upload in uploads]
        if len(added) == 1:
            status, body = added[0]
            return Response(body, status=status)
        results = [{"status": status, **body} for status, body in added]
        return Response({"results": results}, status=207)

    def _add(self, gallery: Gallery, upload: UploadedFile[Any]) -> tuple[int, dict[str, Any]]:
        """(status, body) for one file of the request."""
        name = upload.name or ""
        try:
            added = add_photo(
                actor=self.actor,
                gallery=gallery,
                file=cast("BinaryIO", upload.file),
                file_name=name,
            )
        except ImageRefused as error:
            return 422, {"code": str(error.code), "detail": str(error), "file": name}
        except DecodingBusy as error:
            return 503, {"code": "busy", "detail": str(error), "file": name}
        finally:
            # Frees disk space early: the request may have hundreds of files.
            upload.close()
        added_file = {"file": name, "is_new": added.is_new, "photo": added.photo}
        return 201 if added.is_new else 200, self.shaped(added_file, AddedSerializer)
