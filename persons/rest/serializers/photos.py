"""Photos, faces, and results of uploads."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from persons.models import Decision, Face, Gallery, Photo
from persons.rest.serializers.people import PersonNameSerializer
from persons.rest.serializers.shared import link

RENDITIONS = ("thumb", "medium", "large")


class BoxSerializer(serializers.Serializer[Any]):
    """In pixels of the oriented original."""

    left = serializers.IntegerField()
    top = serializers.IntegerField()
    right = serializers.IntegerField()
    bottom = serializers.IntegerField()


class FaceSerializer(serializers.ModelSerializer[Face]):
    """`person` is the identity: a user's decision if there is one, otherwise the engine's answer.

    `tag`, `similarity` and `confidence` are always the engine's. `missing` marks a face that
    the last recognition did not find again.
    """

    box = BoxSerializer(source="*", read_only=True)
    person = PersonNameSerializer(read_only=True, allow_null=True)
    attributes = serializers.SerializerMethodField()
    decision = serializers.SerializerMethodField()
    decided_by = serializers.StringRelatedField[Any](allow_null=True)
    image = serializers.SerializerMethodField()

    class Meta:
        model = Face
        fields = [
            "id",
            "photo",
            "box",
            "person",
            "tag",
            "similarity",
            "confidence",
            "quality",
            "attributes",
            "missing",
            "decision",
            "decided_by",
            "decided_at",
            "image",
        ]
        read_only_fields = fields

    @extend_schema_field(
        serializers.DictField(help_text="Empty unless the space's owner shows attributes.")
    )
    def get_attributes(self, face: Face) -> dict[str, Any]:
        return dict(face.attributes) if self.context["show_attributes"] else {}

    @extend_schema_field(
        serializers.ChoiceField(
            [Decision.NAMED, Decision.IGNORED, Decision.ERASED],
            allow_null=True,
            help_text="A human's; `erased`: of somebody who was erased.",
        )
    )
    def get_decision(self, face: Face) -> str | None:
        return face.decision or None

    @extend_schema_field(serializers.URLField())
    def get_image(self, face: Face) -> str:
        return link(self.context, "media_face", face.pk)


class NameFaceSerializer(serializers.Serializer[Any]):
    label = serializers.CharField(max_length=200)  # type: ignore[assignment]


class PhotoMediaSerializer(serializers.Serializer[Any]):
    """Addresses of the photo's files. The smaller ones exist once a worker has made them."""

    original = serializers.URLField()
    thumb = serializers.URLField(allow_null=True)
    medium = serializers.URLField(allow_null=True)
    large = serializers.URLField(allow_null=True)


class PhotoSerializer(serializers.ModelSerializer[Photo]):
    """`width` and `height` are the oriented original's. `notes` are sentences for the uploader."""

    gallery = serializers.SlugRelatedField[Gallery](slug_field="slug", read_only=True)
    uploaded_by = serializers.StringRelatedField[Any](allow_null=True)
    notes = serializers.ListField(child=serializers.CharField(), read_only=True)
    media = serializers.SerializerMethodField()

    class Meta:
        model = Photo
        fields = [
            "id",
            "gallery",
            "file_name",
            "sha256",
            "size",
            "format",
            "width",
            "height",
            "taken_at",
            "notes",
            "uploaded_by",
            "uploaded_at",
            "state",
            "error",
            "recognised_at",
            "media",
        ]
        read_only_fields = fields

    @extend_schema_field(PhotoMediaSerializer)
    def get_media(self, photo: Photo) -> dict[str, str | None]:
        links: dict[str, str | None] = {
            "original": link(self.context, "media_photo", photo.pk, "original")
        }
        for what in RENDITIONS:
            there = photo.prepared_at is not None
            links[what] = link(self.context, "media_photo", photo.pk, what) if there else None
        return links


class ListedPhotoSerializer(PhotoSerializer):
    face_count = serializers.IntegerField(read_only=True)
    unknown_count = serializers.IntegerField(
        read_only=True, help_text="Faces that wait for a name."
    )

    class Meta(PhotoSerializer.Meta):
        fields = [*PhotoSerializer.Meta.fields, "face_count", "unknown_count"]
        read_only_fields = fields


class PhotoWithFacesSerializer(PhotoSerializer):
    faces = FaceSerializer(many=True, read_only=True)

    class Meta(PhotoSerializer.Meta):
        fields = [*PhotoSerializer.Meta.fields, "faces"]
        read_only_fields = fields


class UploadSerializer(serializers.Serializer[Any]):
    """One file, or several under the same name."""

    file = serializers.ListField(child=serializers.FileField())


class RefusedFileSerializer(serializers.Serializer[Any]):
    """A refused file and the reason. Sending it again gives the same result."""

    code = serializers.CharField()
    detail = serializers.CharField()
    file = serializers.CharField(help_text="Its name, as it came.")


class AddedSerializer(serializers.Serializer[Any]):
    """`is_new` is false if the gallery had these bytes already; `photo` is then that photo."""

    file = serializers.CharField(help_text="Its name, as it came.")
    is_new = serializers.BooleanField()
    photo = PhotoSerializer()


class UploadedSerializer(serializers.Serializer[Any]):
    """The result of one of several files: 201, 200 for a duplicate, 422 for a refused one."""

    status = serializers.IntegerField()
    file = serializers.CharField()
    is_new = serializers.BooleanField(required=False)
    photo = PhotoSerializer(required=False)
    code = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)


class SeveralUploadedSerializer(serializers.Serializer[Any]):
    results = UploadedSerializer(many=True)
