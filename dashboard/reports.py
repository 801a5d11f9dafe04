"""Django's error reports, on the debug page and in mails to admins, without secrets."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest, QueryDict
from django.views.debug import SafeExceptionReporterFilter

_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")


class ReporterFilter(SafeExceptionReporterFilter):
    """Filters on the debug page too, and takes the passwords out of addresses.

    A client's key is gone before there is anything to report: see `dashboard.middleware.take_key`.
    """

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str):
            return _PASSWORD.sub(f"{self.cleansed_substitute}@", cleansed)
        return cleansed

    def get_post_parameters(self, request: HttpRequest | None) -> QueryDict | dict[str, Any]:
        """Of a form that was read. A body that was not, or not as a form, is left alone: reading
        it for the report's sake would take as long as the upload, or fail."""
        if request is not None and not hasattr(request, "_post"):
            request._mark_post_parse_error()  # type: ignore[attr-defined]
        return super().get_post_parameters(request)
