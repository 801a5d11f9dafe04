"""Galleries."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from persons.models import Gallery


class GallerySerializer(serializers.ModelSerializer[Gallery]):
    space = serializers.IntegerField(source="space.number", read_only=True)
    photo_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = Gallery
        fields = ["slug", "name", "space", "photo_count", "created_at"]
        read_only_fields = fields


class NewGallerySerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    space = serializers.IntegerField(min_value=0, default=0, help_text="Its number.")
    slug = serializers.RegexField(
        r"^[a-z0-9]+(-[a-z0-9]+)*$",
        max_length=60,
        required=False,
        help_text="Made from the name where it is not given.",
    )


class RenameGallerySerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
