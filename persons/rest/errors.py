"""Errors as JSON of one shape: `code` for programs, `detail` for people.

Errors in the body or the parameters are also in `fields`, by name.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404
from django.http.request import UnreadablePostError
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from persons.decoding import DecodingBusy
from persons.errors import Refused
from persons.inputs.params import NotUnderstood


class Conflict(exceptions.APIException):
    """The request is valid but the current state doesn't allow it."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "refused"


class Busy(exceptions.APIException):
    """The server is busy. The same request can be sent again later."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "busy"
    wait = DecodingBusy.retry_after
    """Seconds, for `Retry-After`."""


class Unprocessable(exceptions.ValidationError):
    """A query parameter can't be understood."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """EXCEPTION_HANDLER of REST_FRAMEWORK. None leaves an unexpected error to Django, as a 500."""
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
        case DecodingBusy():
            return Busy(str(error))
        case Http404():
            return exceptions.NotFound("There is nothing here.")
        case PermissionDenied():
            return exceptions.PermissionDenied(str(error) or None)
        case NotUnderstood():
            return Unprocessable({name: [text] for name, text in error.errors.items()})
        case TooManyFilesSent():
            most = settings.DATA_UPLOAD_MAX_NUMBER_FILES
            return TooLarge(f"At most {most} files go into one request. Send it in several.")
        case TooManyFieldsSent():
            most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
            return TooLarge(f"At most {most} fields go into one request. Send it in several.")
        case RequestDataTooBig():
            return TooLarge("Too much text in one request. Send it in several.")
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
    sentence = first if name == "non_field_errors" else f"{name}: {first}"
    return {"code": "invalid", "detail": sentence, "fields": fields}
