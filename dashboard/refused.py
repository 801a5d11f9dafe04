"""Explains refused requests: those that can't be parsed or exceed a limit.

Responds with a page for people, plain text for htmx (which shows it as a toast) and JSON for
scripts. Django's own "Bad Request" explains nothing. Such errors can come from anywhere, because
fields are read late.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import (
    DisallowedHost,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render

from persons.inputs.params import NotUnderstood, shown


def words_of(error: Exception) -> tuple[int, str]:
    """The HTTP status, and a sentence that tells the user what to do."""
    match error:
        case NotUnderstood():
            return 400, str(error)
        case TooManyFilesSent():
            most = settings.DATA_UPLOAD_MAX_NUMBER_FILES
            return 413, (
                f"At most {most} files go at once in a form. Choose {most} or fewer and send the "
                "rest after them; with scripts turned on there is no such limit."
            )
        case TooManyFieldsSent():
            most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
            return 413, f"At most {most:,} fields go at once in a form. Select fewer things."
        case RequestDataTooBig():
            size = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) / 1_000_000
            return 413, f"The texts of this form are larger than {size:.1f} MB. Shorten them."
        case DisallowedHost():
            return 400, (
                "This server does not answer to that name. Whoever runs it lists its names in "
                "ROLLCALL_HOSTS."
            )
        case MultiPartParserError():
            return 400, "The form arrived damaged and can't be read. Send it again."
        case _:
            return 400, "The request can't be understood. Go back and try again."


def answer(request: HttpRequest, error: Exception) -> HttpResponse:
    status, words = words_of(error)
    if _wants_json(request):
        content: dict[str, object] = {"error": words, "code": "invalid", "detail": words}
        if isinstance(error, NotUnderstood):
            content["fields"] = {name: [text] for name, text in error.errors.items()}
        return JsonResponse(content, status=status)
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(words, status=status, content_type="text/plain; charset=utf-8")
    context: dict[str, Any] = {"words": words, "errors": []}
    if isinstance(error, NotUnderstood):
        context |= _form_of(request, error)
    # Before authentication there is no page frame, so a standalone page is shown.
    template = "refused.html" if hasattr(request, "user") else "400.html"
    return render(request, template, context, status=status)


def _form_of(request: HttpRequest, error: NotUnderstood) -> dict[str, Any]:
    """The invalid values to correct, and a link to the same page with the valid ones."""
    asked = request.GET
    kept = [
        (name, value)
        for name, values in asked.lists()
        for value in values
        if name not in error.errors
    ]
    return {
        "errors": [(name, text, shown(asked.get(name, ""))) for name, text in error.errors.items()],
        "kept": kept,
        "is_get": request.method in ("GET", "HEAD"),
        "here": request.path,
        "without": f"{request.path}?{urlencode(kept)}" if kept else request.path,
    }


def _wants_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept") == "application/json" or request.path_info.startswith(
        "/rest/"
    )
