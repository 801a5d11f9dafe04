"""Calls to Vision, and the audit log."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from persons.models import AuditEntry, Call, Recognition


class CallSerializer(serializers.ModelSerializer[Call]):
    space = serializers.IntegerField(source="space.number", read_only=True, allow_null=True)
    actor = serializers.StringRelatedField[Any](allow_null=True)

    class Meta:
        model = Call
        fields = [
            "id",
            "method",
            "source",
            "actor",
            "actor_text",
            "address",
            "request_id",
            "backend",
            "model",
            "space",
            "space_version",
            "image_count",
            "started_at",
            "duration_ms",
            "outcome",
            "status",
            "error",
        ]
        read_only_fields = fields


SHOWN_OF_CLOSED = ("position", "status")
"""Fields of an image that are shown even if its gallery is closed to the reader."""


def _nothing_of(value: Any) -> Any:
    """The empty value of the same type."""
    return None if value is None else type(value)()


class RecognitionSerializer(serializers.ModelSerializer[Recognition]):
    """One image of a call. `photo` is null if you may not see it. If the photo is in a gallery that
    is closed to you, only `position` and `status` are shown."""

    photo = serializers.SerializerMethodField()
    result = serializers.SerializerMethodField()

    class Meta:
        model = Recognition
        fields = [
            "position",
            "name",
            "photo",
            "person_id",
            "sha256",
            "width",
            "height",
            "own_width",
            "own_height",
            "status",
            "error",
            "face_count",
            "result",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_photo(self, recognition: Recognition) -> int | None:
        may_see = self.context["may_see_photos"] and not self._is_closed(recognition)
        return recognition.photo_id if may_see else None

    @extend_schema_field(serializers.DictField())
    def get_result(self, recognition: Recognition) -> Any:
        return recognition.result

    def to_representation(self, instance: Recognition) -> dict[str, Any]:
        fields = super().to_representation(instance)
        if not self._is_closed(instance):
            return fields
        return {
            name: fields[name] if name in SHOWN_OF_CLOSED else _nothing_of(fields[name])
            for name in fields
        }

    def _is_closed(self, recognition: Recognition) -> bool:
        return recognition.pk in self.context["closed"]


class CallWithAnswerSerializer(CallSerializer):
    """`meta` is the request and `answer` the unchanged envelope. Both are empty if they concern a
    photo in a gallery that is closed to you."""

    meta = serializers.SerializerMethodField()
    answer = serializers.SerializerMethodField()
    recognitions = RecognitionSerializer(many=True, read_only=True)

    class Meta(CallSerializer.Meta):
        fields = [*CallSerializer.Meta.fields, "meta", "answer", "recognitions"]
        read_only_fields = fields

    @extend_schema_field(serializers.DictField())
    def get_meta(self, call: Call) -> Any:
        return {} if self.context["closed"] else call.meta

    @extend_schema_field(serializers.CharField())
    def get_answer(self, call: Call) -> str:
        return "" if self.context["closed"] else call.answer


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """Texts and values are empty if the entry is about a gallery that is closed to you."""

    actor = serializers.StringRelatedField[Any](allow_null=True)

    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "at",
            "actor",
            "actor_text",
            "source",
            "address",
            "request_id",
            "action",
            "target_type",
            "target_id",
            "target_text",
            "before",
            "after",
            "reason",
        ]
        read_only_fields = fields

    def to_representation(self, instance: AuditEntry) -> dict[str, Any]:
        fields = super().to_representation(instance)
        if instance.is_closed:  # type: ignore[attr-defined]
            fields |= dict.fromkeys(("target_id", "target_text", "reason"), "")
            fields |= {"before": {}, "after": {}}
        return fields
