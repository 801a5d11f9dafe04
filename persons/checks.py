"""What a team's server must set; `manage.py check --deploy` says so."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from dashboard.modes import open_to_others
from persons.chain import signing
from persons.vision.transport import host_of


@register(Tags.compatibility)
def cloud_addresses(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The cloud's settings, before anything is sent by them. No secret is repeated."""
    found: list[CheckMessage] = []
    if not settings.VISION_URL:
        return found
    names = ["VISION_URL"] + (["VISION_OAUTH_URL"] if settings.VISION_CLIENT_ID else [])
    for name in names:
        try:
            host_of(getattr(settings, name))
        except ValueError as error:
            found.append(Error(f"{name}: {error}.", id="rollcall.E001"))
    if settings.VISION_CLIENT_ID and not settings.VISION_CLIENT_SECRET:
        found.append(
            Error("VISION_CLIENT_ID is set, VISION_CLIENT_SECRET is not.", id="rollcall.E002")
        )
    if not settings.VISION_CLIENT_ID and not settings.VISION_TOKEN:
        found.append(
            Error(
                "VISION_URL is set, but nothing to sign in with.",
                hint="Set VISION_TOKEN, or VISION_CLIENT_ID and VISION_CLIENT_SECRET.",
                id="rollcall.E003",
            )
        )
    return found


@register(Tags.security, deploy=True)
def secret_key_is_shared(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not settings.SECRET_KEY_IS_LOCAL:
        return []
    return [
        Warning(
            "The secret key is this machine's own file.",
            hint="Set ROLLCALL_SECRET_KEY (or ROLLCALL_SECRET_KEY_FILE) where several servers "
            "share a database.",
            id="rollcall.W001",
        )
    ]


@register(Tags.security)
def data_folder_is_closed(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Other accounts of this machine read neither photos nor the database.

    The settings have closed what they could; what is left belongs to another account.
    """
    found = [str(path) for path in open_to_others(settings.DATA_DIR)]
    if not found:
        return []
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return [
        Warning(
            f"Other accounts of this machine may read {', '.join(found[:3])}{more}.",
            hint="Let the account that runs Rollcall own the data folder, and nobody else enter "
            f"it: chown -R ACCOUNT {settings.DATA_DIR}; chmod -R go= {settings.DATA_DIR}. Give it "
            "a folder of its own (ROLLCALL_DATA) where others work in this one.",
            id="rollcall.W003",
        )
    ]


@register(Tags.security)
def audit_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The keys of the audit can be read. None of them is repeated."""
    try:
        signing.public_keys()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="rollcall.E004")]
    return []


@register(Tags.security, deploy=True)
def audit_key_is_shared(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not settings.AUDIT_KEY_IS_LOCAL:
        return []
    return [
        Warning(
            "The key that signs the audit is this machine's own file.",
            hint="Set ROLLCALL_AUDIT_KEY (or ROLLCALL_AUDIT_KEY_FILE) where several servers share "
            "a database, and keep a copy: seals and certificates are worth what it is.",
            id="rollcall.W002",
        )
    ]
