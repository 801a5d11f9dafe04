"""Signing a browser in."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.test import Client
from playwright.sync_api import Page

from tests.support.processes import PATIENCE


def enter(page: Page, live: str, client: Client) -> None:
    """Sign in. A script or style that the page's policy blocks fails the test as any error does."""
    page.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (event) => { throw new Error(`${event.violatedDirective} ${event.sourceFile}`); });"
    )
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live}])


def turn_until(page: Page, condition: Callable[[], bool]) -> None:
    """Let the browser's events come in until they, or the server, have brought this about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        page.wait_for_timeout(20)
