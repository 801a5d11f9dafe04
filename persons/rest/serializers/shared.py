"""Links to files, and the shape of errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from rest_framework import serializers


def link(context: Mapping[str, Any], view: str, *args: object) -> str:
    """The absolute URL of one of the team's files."""
    address = reverse(view, args=[context["team"], *args])
    return str(context["request"].build_absolute_uri(address))


class ErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="For programs.")
    detail = serializers.CharField(help_text="For people.")
    fields_ = serializers.DictField(
        required=False, help_text="What was wrong in the body, by field's name."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # Serializers reserve the attribute `fields`.
        found = super().get_fields()
        found["fields"] = found.pop("fields_")
        return found
