"""Who asks. Another way in is another class here and another line in REST_FRAMEWORK."""

from __future__ import annotations

import copy
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request


class Session(SessionAuthentication):
    """A browser that has signed in. Whatever writes carries the CSRF token in `X-CSRFToken`."""

    def authenticate_header(self, request: Request) -> str:
        """Makes "not signed in" a 401; without a challenge it would be a 403."""
        return 'Session realm="Rollcall"'

    def enforce_csrf(self, request: Any) -> None:
        # Django also looks for the token in a POST's form, which would read an upload to its end
        # before anybody asked whether it may come in. For other methods it reads the header alone.
        asked = copy.copy(request._request)
        if asked.method == "POST":
            asked.method = "PUT"
        super().enforce_csrf(asked)


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Session, as the schema describes it."""

    target_class = "persons.rest.authentication.Session"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
