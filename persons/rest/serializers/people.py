"""People and their enrolments."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from persons.models import Enrolment, Person
from persons.rest.serializers.shared import link


class PersonNameSerializer(serializers.ModelSerializer[Person]):
    """A person. `label` is empty if the person has no name yet."""

    class Meta:
        model = Person
        fields = ["person_id", "tag", "label"]
        read_only_fields = fields


class PersonSerializer(serializers.ModelSerializer[Person]):
    """`sync_state` says whether all changes to the person's pictures have reached Vision."""

    photo_count = serializers.IntegerField(read_only=True)
    enrolment_count = serializers.IntegerField(read_only=True)
    cover = serializers.SerializerMethodField()

    class Meta:
        model = Person
        fields = [
            "person_id",
            "tag",
            "label",
            "photo_count",
            "enrolment_count",
            "cover",
            "sync_state",
            "sync_error",
            "created_at",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_cover(self, person: Any) -> str | None:
        face = person.cover_id_or_best
        return link(self.context, "media_face", face) if face else None


class RenamePersonSerializer(serializers.Serializer[Any]):
    label = serializers.CharField(max_length=200)  # type: ignore[assignment]


class EnrolmentSerializer(serializers.ModelSerializer[Enrolment]):
    """One picture that was `set`. `image` is the address of its bytes once a worker has cut it."""

    created_by = serializers.StringRelatedField[Any](allow_null=True)
    photo = serializers.IntegerField(source="face.photo_id", read_only=True, allow_null=True)
    image = serializers.SerializerMethodField()

    class Meta:
        model = Enrolment
        fields = [
            "id",
            "state",
            "error",
            "sha256",
            "image",
            "face",
            "photo",
            "created_by",
            "created_at",
            "done_at",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_image(self, enrolment: Enrolment) -> str | None:
        return link(self.context, "media_enrolment", enrolment.pk) if enrolment.image else None
