"""Body parsers with size limits: JSON in memory, uploads streamed to disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request

from persons.files.uploads import TakesEveryName
from persons.inputs.params import whole
from persons.rest.errors import TooLarge

JSON_BYTES = 1_000_000
FILES_OF_FULL_SIZE = 20
"""Limit of one upload request, in files of the maximum size. It can hold more smaller files."""


class Json(JSONParser):
    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        _demand_length((parser_context or {})["request"], JSON_BYTES)
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None


class Uploads(MultiPartParser):
    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        request = (parser_context or {})["request"]
        _demand_length(request, settings.UPLOAD_MAX_BYTES * FILES_OF_FULL_SIZE)
        request.upload_handlers = [_ToDisk(request)]
        return super().parse(stream, media_type, parser_context)


class _ToDisk(TakesEveryName):
    """Writes no more of an oversized file than is needed to see that it is oversized."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        if start <= settings.UPLOAD_MAX_BYTES:
            super().receive_data_chunk(raw_data, start)
        return None

    def file_complete(self, file_size: int) -> Any:
        # Extend it sparsely to its true length, which the error message reports.
        if file_size > settings.UPLOAD_MAX_BYTES:
            self.file.truncate(file_size)
        return super().file_complete(file_size)


def _demand_length(request: Request, limit: int) -> None:
    """Raise TooLarge if the announced length exceeds `limit`.

    That is enough, because the server reads no further than the announced length.
    """
    if (whole(str(request.META.get("CONTENT_LENGTH") or 0)) or 0) > limit:
        raise TooLarge(f"This request is too large: at most {limit // 1_000_000} MB go at once.")
