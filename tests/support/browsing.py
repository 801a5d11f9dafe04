"""Signing a browser in."""

from __future__ import annotations

from django.test import Client
from playwright.sync_api import Page


def enter(page: Page, live: str, client: Client) -> None:
    """Sign in. A script or style that the page's policy blocks fails the test as any error does."""
    page.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (event) => { throw new Error(`${event.violatedDirective} ${event.sourceFile}`); });"
    )
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live}])
