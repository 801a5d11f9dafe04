"""Django's error reports, on the debug page and in mails to admins, without secrets."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest, QueryDict
from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from dashboard.redaction import MASK, redact, secrets_of

_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")


class ReporterFilter(SafeExceptionReporterFilter):
    """Also filters the debug page, and removes passwords from URLs.

    A client's key is removed before any report: see `dashboard.middleware.take_key`.
    """

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str):
            return _PASSWORD.sub(f"{self.cleansed_substitute}@", cleansed)
        return cleansed

    def get_post_parameters(self, request: HttpRequest | None) -> QueryDict | dict[str, Any]:
        """The parameters of a form already read. Other bodies are left alone: reading one for the
        report would take as long as the upload, or fail."""
        if request is not None and not hasattr(request, "_post"):
            request._mark_post_parse_error()  # type: ignore[attr-defined]
        return super().get_post_parameters(request)


class Reporter(ExceptionReporter):
    """Masks URL secrets in the finished report, wherever Django put them: the request, its
    headers, frame variables or the exception's text."""

    def get_traceback_text(self) -> SafeString:
        return self._redacted(super().get_traceback_text())

    def get_traceback_html(self) -> SafeString:
        return self._redacted(super().get_traceback_html())

    def _redacted(self, report: str) -> SafeString:
        for secret in secrets_of(self.request) if self.request is not None else ():
            report = report.replace(secret, MASK)
        # The report is already escaped.
        return SafeString(redact(report))
