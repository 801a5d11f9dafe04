"""Spaces and their policies."""

from __future__ import annotations

from rest_framework import serializers

from persons.models import Space


class SpaceSerializer(serializers.ModelSerializer[Space]):
    people_count = serializers.IntegerField(read_only=True)
    enrolled_count = serializers.IntegerField(read_only=True, help_text="Pictures Vision has.")
    waiting_count = serializers.IntegerField(read_only=True, help_text="Pictures still to be sent.")
    capacity = serializers.IntegerField(source="CAPACITY", read_only=True)

    class Meta:
        model = Space
        fields = [
            "number",
            "name",
            "threshold",
            "confirm_threshold",
            "update_embedding",
            "create_new",
            "show_attributes",
            "searcher",
            "require_consent",
            "version",
            "people_count",
            "enrolled_count",
            "waiting_count",
            "capacity",
        ]
        read_only_fields = fields


class PolicySerializer(serializers.ModelSerializer[Space]):
    class Meta:
        model = Space
        fields = [
            "name",
            "threshold",
            "confirm_threshold",
            "update_embedding",
            "create_new",
            "show_attributes",
            "searcher",
            "require_consent",
        ]
