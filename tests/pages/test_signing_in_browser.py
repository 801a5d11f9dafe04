"""Signing in and out in a real Chromium."""

from __future__ import annotations

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from persons.actions.teams import invite_member
from persons.models import Role, Team, User
from tests.support.factories import PASSWORD
from tests.support.fakes import by

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


def test_a_newcomer_joins_by_the_link_of_an_invitation(
    page: Page, live: str, team: Team, alice: User
) -> None:
    _, token = invite_member(actor=by(alice), team=team, email="dana@example.org", role=Role.VIEWER)
    page.goto(live + reverse("join", args=[token]))
    page.get_by_label("User name").fill("dana")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Make an account and join").click()
    page.wait_for_url(f"{live}/t/trip/")
    expect(page.get_by_text("Welcome to Trip.")).to_be_visible()
