"""The REST API's OpenAPI schema: valid, complete, and browsable without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from playwright.sync_api import Page, expect

from persons.models import Gallery, User
from tests.support import factories

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database


def test_the_schema_is_valid_and_complete(tmp_path: Path) -> None:
    """A view that it can't describe is a warning, and fails."""
    file = tmp_path / "schema.json"
    call_command(
        "spectacular",
        "--validate",
        "--fail-on-warn",
        "--format",
        "openapi-json",
        "--file",
        str(file),
    )
    schema = json.loads(file.read_text())
    assert len(schema["paths"]) == 25
    upload = schema["paths"]["/rest/teams/{team}/galleries/{slug}/photos/"]["post"]
    assert {"200", "201", "207", "422"} <= set(upload["responses"])
    assert list(upload["requestBody"]["content"]) == ["multipart/form-data"]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert "persons." not in operation.get("description", ""), (method, path)
            assert "401" in operation["responses"], (method, path)
            assert operation["security"] == [{"session": []}], (method, path)


def test_no_secret_is_in_the_schema(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    call_command("spectacular", "--format", "openapi-json", "--file", str(file))
    names = {
        name
        for shape in json.loads(file.read_text())["components"]["schemas"].values()
        for name in shape.get("properties", {})
    }
    assert {"similarity", "threshold"} <= names
    assert not {name for name in names if "token" in name or "hash" in name or "password" in name}


def test_the_schema_is_for_members_and_comes_as_yaml_or_json(
    vera: User, sign_in: Callable[[User], Client]
) -> None:
    assert Client().get("/rest/schema/").status_code == 401
    client = sign_in(vera)
    assert client.get("/rest/schema/").content.startswith(b"openapi: 3.0")
    assert client.get("/rest/schema/?format=json").json()["openapi"].startswith("3.0")
    assert client.post("/rest/schema/").status_code == 405


def test_the_docs_send_whoever_is_not_signed_in_to_the_sign_in_page(db: None) -> None:
    response = Client().get("/rest/docs/")
    assert response.status_code == 302
    assert response["Location"] == "/login/?next=/rest/docs/"


def test_the_docs_load_nothing_from_elsewhere(
    vera: User, sign_in: Callable[[User], Client]
) -> None:
    html = sign_in(vera).get("/rest/docs/").content.decode()
    assert "/static/drf_spectacular_sidecar/" in html
    assert "http:" not in html and "https:" not in html and "//cdn" not in html


@pytest.mark.django_db(transaction=True)
def test_the_docs_work_in_a_browser_without_a_network(live: str, page: Page, bob: User) -> None:
    page.goto(f"{live}/login/?next=/rest/docs/")
    page.fill("[name=username]", "bob")
    page.fill("[name=password]", factories.PASSWORD)
    page.press("[name=password]", "Enter")
    expect(page.get_by_role("heading", name="Rollcall")).to_be_visible()
    page.locator("#operations-galleries-galleries_create").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_placeholder("team").fill("trip")
    page.locator("textarea.body-param__text").fill('{"name": "From the docs"}')
    page.get_by_role("button", name="Execute").click()
    status = page.locator(".live-responses-table td.response-col_status:not(.col_header)")
    expect(status).to_contain_text("201")
    assert Gallery.objects.get().name == "From the docs"
