"""Authentication of REST requests. A new method is a class here and an entry in REST_FRAMEWORK."""

from __future__ import annotations

import copy
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request


class Session(SessionAuthentication):
    """Session cookie of a signed-in browser. Writes need the CSRF token in `X-CSRFToken`."""

    def authenticate_header(self, request: Request) -> str:
        """The challenge. Without one, anonymous requests would get 403 instead of 401."""
        return 'Session realm="Rollcall"'

    def enforce_csrf(self, request: Any) -> None:
        # For POST, Django also looks for the token in the form. That would read a whole upload
        # before access is checked. For other methods Django only reads the header.
        asked = copy.copy(request._request)
        if asked.method == "POST":
            asked.method = "PUT"
        super().enforce_csrf(asked)


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes Session in the OpenAPI schema."""

    target_class = "persons.rest.authentication.Session"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
