"""Every error as JSON of one shape: `code` for programs, `detail` for people.

What was wrong in the body stands in `fields` too, by the field's name; a refused file in `file`.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFilesSent,
)
from django.http import Http404
from django.http.request import UnreadablePostError
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from persons.errors import Refused


class Conflict(exceptions.APIException):
    """Well said, but it can't be done as things are."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "refused"


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST_FRAMEWORK's EXCEPTION_HANDLER. None leaves an error of our own to Django: a 500."""
    error = _api_exception(error)
    response = exception_handler(error, context)
    if response is None or not isinstance(error, exceptions.APIException):
        return None
    response.data = _body(error)
    return response


def _api_exception(error: Exception) -> Exception:
    match error:
        case Refused():
            return Conflict(str(error))
        case Http404():
            return exceptions.NotFound("There is nothing here.")
        case PermissionDenied():
            return exceptions.PermissionDenied(str(error) or None)
        case TooManyFilesSent() | RequestDataTooBig():
            return TooLarge("Too much in one request. Send it in several.")
        case SuspiciousOperation() | UnreadablePostError():
            return exceptions.ParseError("The request can't be read.")
        case _:
            return error


def _body(error: exceptions.APIException) -> dict[str, Any]:
    if not isinstance(error, exceptions.ValidationError):
        return {"code": error.get_codes(), "detail": error.detail}
    detail = error.detail
    fields = detail if isinstance(detail, dict) else {"non_field_errors": detail}
    name, texts = next(iter(fields.items()))
    first = str(texts[0]) if isinstance(texts, list) else str(texts)
    said = first if name == "non_field_errors" else f"{name}: {first}"
    return {"code": "invalid", "detail": said, "fields": fields}
