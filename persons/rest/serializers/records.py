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


class RecognitionSerializer(serializers.ModelSerializer[Recognition]):
    """One image of a call. `photo` is null for who may not see it; `result` is empty where the
    photo is of a gallery that is closed to them."""

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
        return {} if self._is_closed(recognition) else recognition.result

    def _is_closed(self, recognition: Recognition) -> bool:
        return recognition.photo_id in self.context["closed"]


class CallWithAnswerSerializer(CallSerializer):
    """`meta` is what was asked, `answer` the envelope as it came; empty where it speaks of a photo
    in a gallery that is closed to the reader."""

    answer = serializers.SerializerMethodField()
    recognitions = RecognitionSerializer(many=True, read_only=True)

    class Meta(CallSerializer.Meta):
        fields = [*CallSerializer.Meta.fields, "meta", "answer", "recognitions"]
        read_only_fields = fields

    @extend_schema_field(serializers.CharField())
    def get_answer(self, call: Call) -> str:
        return "" if self.context["closed"] else call.answer


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """Without its words where it tells of a gallery that is closed to the reader."""

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
        said = super().to_representation(instance)
        if instance.pk in self.context["closed"]:
            said |= {"target_text": "", "before": {}, "after": {}, "reason": ""}
        return said
