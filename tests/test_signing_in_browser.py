"""Signing in and out in a real Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from persons.models import User
from tests.factories import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_alice_signs_in_and_sees_her_team(page: Page, live: str, alice: User) -> None:
    page.goto(live)
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{live}/t/trip/")
    expect(page.get_by_text("Trip").first).to_be_visible()


def test_a_wrong_password_is_said(page: Page, live: str, alice: User) -> None:
    page.goto(f"{live}/login/")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("not her password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert "/login/" in page.url
