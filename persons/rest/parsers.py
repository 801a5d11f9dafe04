"""What may be sent, and how much of it: JSON in memory, uploads to disk as they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request

from persons.rest.errors import TooLarge

JSON_BYTES = 1_000_000
FILES_OF_FULL_SIZE = 20
"""That many files as large as one may be, or more smaller ones, go into one request."""


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


class _ToDisk(TemporaryFileUploadHandler):
    """Of a file that is too large only so much is written as shows that it is."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start <= settings.UPLOAD_MAX_BYTES:
            super().receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> Any:
        # Its true length, as a hole at the end: the refusal says how large the file was.
        if file_size > settings.UPLOAD_MAX_BYTES:
            self.file.truncate(file_size)
        return super().file_complete(file_size)


def _demand_length(request: Request, limit: int) -> None:
    """The server reads no further than the length that was announced."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
        raise TooLarge(f"This request is too large: at most {limit // 1_000_000} MB go at once.")
