"""Keeps secrets in URLs (link tokens, clients' keys) out of logs and reports.

A URL pattern marks a secret part with its converter, `<secret:token>`. Marked parts are masked in
every log record of the process, for every library and handler, and in Django's error reports
(`dashboard.reports`). The mask applies wherever the URL is quoted: a Referer, a `next` in a query,
an exception's text or traceback.
"""

from __future__ import annotations

import logging
import logging.config
import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.http import HttpRequest
from django.urls import URLPattern, URLResolver, register_converter
from django.urls.converters import StringConverter

MASK = "***"
LEAST = 8
"""Minimum length from which a secret is also masked outside its URL."""

SLASH = r"(?:/|%(?:25)*2[fF])"
"""A slash, plain or percent-encoded any number of times, as in a URL quoted in a query."""

_VALUE = r"((?:(?!%(?:25)*2[fF])[^/\s?#&\"'<>\\])+)"
_PART = re.compile(r"<(?:(?P<kind>\w+):)?\w+>")
_KEYS = re.compile(r"(oauth(?:_|%5f)token=)[^&\s'\"]+", re.IGNORECASE)

_addresses: list[re.Pattern[str]] = []


class SecretConverter(StringConverter):
    """Marks a part of a URL that alone grants access."""


register_converter(SecretConverter, "secret")


def learn(patterns: Sequence[URLPattern | URLResolver]) -> None:
    """Register the secret parts of these URL patterns; urls.py calls it with all of the site's."""
    _addresses[:] = [re.compile(text) for text in dict.fromkeys(_masks(patterns, ""))]


def _masks(patterns: Sequence[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from _masks(pattern.url_patterns, route)
            continue
        read = SLASH
        after = 0
        for part in _PART.finditer(route):
            read += _literal(route[after : part.start()])
            after = part.end()
            if part["kind"] == "secret":
                # The prefix is kept to identify the URL.
                yield f"({read}){_VALUE}"
            read += r"[^/\s%]+"


def _literal(text: str) -> str:
    return SLASH.join(re.escape(part) for part in text.split("/"))


def redact(text: str) -> str:
    text = _KEYS.sub(rf"\1{MASK}", text)
    for address in _addresses:
        text = address.sub(rf"\1{MASK}", text)
    return text


def secrets_of(request: HttpRequest) -> list[str]:
    """The secrets in a request's URL, Referer and form, longest first. Reports use them to mask
    secrets outside URLs."""
    texts = [request.get_full_path(), *(v for v in request.META.values() if isinstance(v, str))]
    texts += [value for values in dict(getattr(request, "_post", {})).values() for value in values]
    found = {m[2] for text in texts for address in _addresses for m in address.finditer(text)}
    return sorted((one for one in found if len(one) >= LEAST), key=len, reverse=True)


def has_secret(request: HttpRequest) -> bool:
    """Whether the request's own URL holds a secret, including in its query."""
    path = request.get_full_path()
    return any(address.search(path) for address in _addresses)


# --- Logs ---


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG, with redaction installed."""
    logging.config.dictConfig(config)
    install()


def install() -> None:
    """Mask every log record of this process from now on, before any handler gets it."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        return _redacted(make(*args, **kwargs))

    factory.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - whatever it is, logging would print the arguments as they are
        record.msg, record.args = redact(f"{record.msg!r} {record.args!r}"), ()
    else:
        if (clean := redact(text)) != text:
            record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[0] is not None:
        trace = logging.Formatter().formatException(record.exc_info)
        if (clean := redact(trace)) != trace:
            # Formatters use this text instead of formatting the exception.
            record.exc_text = clean
    if record.stack_info:
        record.stack_info = redact(record.stack_info)
    return record
