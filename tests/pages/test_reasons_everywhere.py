"""No address shows a person, a call's record or an export without the reason that a team demands.

The addresses come from the URL resolver. A new one that shows a person's name has to ask for the
reason, or be listed in `NAMES_ARE_THE_WORK` with why it does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.test import Client

from persons import audit
from persons.audit import Actor
from persons.models import AuditEntry, Call, Enrolment, Finding, Person, Recognition, Team
from persons.vision.envelope import tag_of
from tests.support.access_table import World, routes, store_pictures, world

__all__ = ["world"]

pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

NAME = "Zebedee Quill"
ASKS = "needs a reason in Trip"

ONE = "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/"
CALL = "t/<slug:team>/history/<int:pk>/"
EVIDENCE = "t/<slug:team>/history/<int:call>/evidence/<int:recognition>/<int:position>/"
REST = "rest/teams/<slug:team>/"
REST_ONE = f"{REST}spaces/<int:number>/people/<int:person_id>/"

GATED: dict[str, tuple[str, str]] = {
    # The purpose and the target that a reason is given for; the action of the view's own entry.
    ONE: ("person {person}", "person.view"),
    f"{ONE}company": ("person {person}", "person.view"),
    f"{ONE}merge": ("person {person}", "person.view"),
    f"{ONE}erase": ("person {person}", "person.view"),
    f"{ONE}report": ("export report-{person}", "person.report"),
    f"{ONE}report.json": ("export report-{person}", "person.report"),
    "t/<slug:team>/review/many/<int:number>/<int:person_id>/": ("person {person}", "person.view"),
    "t/<slug:team>/groups/of/<int:number>/<int:person_id>/": ("person {person}", "person.view"),
    "t/<slug:team>/people/": ("person all", "people.view"),
    "t/<slug:team>/review/many/": ("person all", "people.view"),
    "t/<slug:team>/spaces/<int:number>/": ("person all", "people.view"),
    "t/<slug:team>/history/names": ("person all", "people.view"),
    CALL: ("evidence call-{call}", "history.view"),
    f"{CALL}answer": ("evidence call-{call}", "history.view"),
    "t/<slug:team>/media/recognition/<int:pk>": ("evidence call-{call}", "history.view"),
    EVIDENCE: ("evidence {finding}", "evidence.open"),
    "t/<slug:team>/history/export.<str:form>": ("export history", "history.export"),
    "t/<slug:team>/audit/export/": ("export audit", "audit.export"),
    "t/<slug:team>/spaces/<int:number>/snapshots/<int:pk>/download": (
        "export snapshot-{snapshot}",
        "snapshot.download",
    ),
    f"{REST}spaces/<int:number>/people/": ("header", "people.view"),
    REST_ONE: ("header", "person.view"),
    f"{REST_ONE}enrolments/": ("header", "person.view"),
    f"{REST}calls/<int:pk>/": ("header", "history.view"),
}

NAMES_ARE_THE_WORK = {
    "t/<slug:team>/photos/<int:pk>/": "who is on a photo is shown to whoever may see the photo",
    "t/<slug:team>/photos/<int:pk>/live": "a part of the photo's page",
    "t/<slug:team>/g/<slug:slug>/people": "whom the photos of a gallery can be filtered by",
    "t/<slug:team>/g/<slug:slug>/": "says which filter is on",
    "t/<slug:team>/review/": "faces are decided there, and each decision is in the audit",
    "t/<slug:team>/faces/<int:pk>/names": "offered while a face is named, for editors alone",
    "t/<slug:team>/spaces/<int:number>/names": "offered while faces are named, for editors alone",
    "t/<slug:team>/audit/": "the record of who looked, and what whoever watches over it reads",
    f"{REST}audit/": "as the audit's page",
    f"{REST}photos/<int:pk>/": "who is on a photo is shown to whoever may see the photo",
}

NAMES_NOBODY = {
    "t/<slug:team>/history/": "a list of calls; by a person or a name it asks (below)",
    "t/<slug:team>/history/chart": "counts of calls; by a person or a name it asks (below)",
    f"{REST}calls/": "a list of calls; by a person or a name it asks (below)",
    f"{ONE}split": "a GET leads to the person's page",
    "t/<slug:team>/faces/<int:pk>/evidence": "leads to the card, which asks",
    "t/<slug:team>/media/evidence/<int:pk>/<str:what>": "with the pass of a card that has asked",
    "t/<slug:team>/erasures/": "references alone",
    "t/<slug:team>/erasures/<str:reference>/": "a certificate names nobody",
    "t/<slug:team>/erasures/<str:reference>/certificate.json": "a certificate names nobody",
}

SENSITIVE = re.compile(
    r"people|person|evidence|history|calls|export|report|eras|download|recognition"
)

PARTS = {
    f"{ONE}company",
    "t/<slug:team>/history/names",
    "t/<slug:team>/media/recognition/<int:pk>",
}
"""Of a page that has an entry: they have one of their own where it has none."""

QUERIES = ("", f"?q={NAME}", f"?person={NAME}", "?view=changes", "?with={other}", "?format=json")


@pytest.fixture
def asking(world: World) -> World:
    """The world's team asks for every reason; its person has a name like nobody else's."""
    Team.objects.filter(pk=world.team.pk).update(require_reasons=["person", "evidence", "export"])
    person = Person.objects.get(label="Anna")
    person.label = NAME
    person.save()
    result = {"name": "x", "persons": [{"tag": tag_of(person.person_id), "similarity": 0.9}]}
    Recognition.objects.update(result=result)
    Finding.objects.update(person=person, told_id=person.person_id, similarity=0.9)
    Call.objects.update(answer=f'{{"status": 200, "body": "{tag_of(person.person_id)}"}}')
    world.keys["person"] = person.pk
    Enrolment.objects.update(face=None)
    store_pictures()
    default_storage.save("snapshots/one.zip", ContentFile(b"PK"))
    audit.record(
        actor=Actor.command("tests"), team=world.team, action="person.notes", target=person
    )
    AuditEntry.objects.all()
    return world


def pages() -> list[str]:
    """Every address of a team that may be read, whether or not by GET."""
    found = [route for route, _ in routes() if "<slug:team>/" in route]
    return [route for route in found if "media/trash" not in route]


def body_of(response: Any) -> str:
    data = b"".join(response.streaming_content) if response.streaming else response.content
    return str(data.decode("utf-8", "replace"))


def wanted(world: World, route: str) -> str:
    given = GATED[route][0].format_map(world.keys)
    return given.partition(" ")[2]


def headers() -> Iterator[dict[str, str]]:
    yield {"Accept": "text/html,*/*;q=0.8"}
    yield {"Accept": "text/html,*/*;q=0.8", "X-Rollcall-Reason": "x"}
    yield {"Accept": "*/*", "HX-Request": "true", "X-Rollcall-Reason": "x"}


def without_question(asked: Any) -> str:
    """The answer's text, but for the typed name in an address that leads back."""
    return re.sub(r'name="next" value="[^"]*"', "", body_of(asked))


TYPED = re.compile("q=|person=")


def without_typed(text: str) -> str:
    """Without where a page repeats the name that was typed."""
    return re.sub(r'(?:value|href|hx-get)="[^"]*"|“[^”]*”', "", text)


@pytest.mark.parametrize("route", pages())
def test_no_address_shows_a_name_without_the_reason(route: str, asking: World) -> None:
    client = asking.clients["owner"]
    address = asking.address(route)
    asked, shown = set(), set()
    for query in QUERIES:
        for header in headers():
            if route.startswith("rest/"):
                header = {"Accept": "*/*"}
            response = client.get(f"{address}{query.format_map(asking.keys)}", headers=header)
            if response.status_code == 405:
                return
            text = without_question(response)
            if (
                ASKS in text
                or (response.status_code == 403 and "asks for a reason" in text)
                or "/reason/" in response.get("HX-Redirect", "")
            ):
                asked.add(query)
            elif NAME in (without_typed(text) if TYPED.search(query) else text):
                shown.add(query)
    if shown:
        assert route in NAMES_ARE_THE_WORK, f"{address} shows the name: {shown}"
    else:
        assert route not in NAMES_ARE_THE_WORK, f"{address} shows no name, and needs no exemption"
    assert ("" in asked) == (route in GATED), f"{address} asks: {asked}"
    if SENSITIVE.search(route.removeprefix("rest/")):
        declared = (GATED, NAMES_ARE_THE_WORK, NAMES_NOBODY)
        assert any(route in some for some in declared), f"{address} is declared nowhere"


@pytest.mark.parametrize("route", GATED)
def test_with_a_reason_each_view_is_shown_and_has_an_entry(route: str, asking: World) -> None:
    given, action = GATED[route]
    client, address = asking.clients["owner"], asking.address(route)
    header = {"Accept": "text/html,*/*;q=0.8"}
    if given == "header":
        header = {"X-Rollcall-Reason": "case 12"}
    else:
        give(client, *given.format_map(asking.keys).split(" "))
    before = set(AuditEntry.objects.values_list("pk", flat=True))
    response = client.get(address, headers=header)
    text = body_of(response)
    assert response.status_code in (200, 302, 303, 404) and ASKS not in text
    made = AuditEntry.objects.exclude(pk__in=before)
    assert {entry.reason for entry in made.filter(action=action)} == {"case 12"}, list(made)
    if route not in PARTS:
        seen = set(made.values_list("pk", flat=True))
        body_of(client.get(address, headers=header))
        assert AuditEntry.objects.filter(action=action).exclude(pk__in=before | seen).exists()


def give(client: Client, purpose: str, target: str) -> None:
    given = {"purpose": purpose, "target": target, "words": "case 12"}
    assert client.post("/t/trip/reason/", given).status_code == 303


BY_PERSON = ["t/trip/history/", "t/trip/history/chart", "rest/teams/trip/calls/"]


@pytest.mark.parametrize("address", BY_PERSON)
def test_who_filters_calls_by_a_person_or_a_name_looks_somebody_up(
    address: str, asking: World
) -> None:
    client = asking.clients["auditor"]
    person = Person.objects.get(pk=asking.keys["person"])
    by_person, by_name = {"person": f"0.{person.person_id}"}, {"q": "Zebedee"}
    header = {"X-Rollcall-Reason": "case 12"} if address.startswith("rest") else {}
    for query in (by_person, by_name):
        response = client.get(f"/{address}", query)
        assert ASKS in response.text or response.status_code == 403
    assert not AuditEntry.objects.filter(action__endswith=".view").exists()
    if not header:
        give(client, "person", str(person.pk))
        give(client, "person", "all")
    for query, action in ((by_person, "person.view"), (by_name, "people.view")):
        response = client.get(f"/{address}", query, headers=header)
        assert response.status_code == 200 and ASKS not in response.text
        assert AuditEntry.objects.filter(action=action).get().reason == "case 12"


def test_lists_of_the_front_page_and_of_spaces_show_nobody(asking: World) -> None:
    client = asking.clients["owner"]
    for address in ("/t/trip/", "/t/trip/spaces/"):
        assert NAME not in client.get(address).text
    assert "Trip asks for a reason before people are shown." in client.get("/t/trip/").text
    Team.objects.update(require_reasons=[])
    assert NAME in client.get("/t/trip/").text


ANSWERS_TO_A_DEED = {
    "t/<slug:team>/faces/<int:pk>/name": "the photo's page, with who is on it",
    "t/<slug:team>/photos/<int:pk>/recognise": "the photo's page, with who is on it",
    "t/<slug:team>/faces/<int:pk>/confirm": "the photo's page, with who is on it",
    "t/<slug:team>/faces/<int:pk>/reject": "the photo's page, with who is on it",
    "t/<slug:team>/faces/<int:pk>/clear": "the photo's page, with who is on it",
    "t/<slug:team>/review/": "the queue, as a GET",
    f"{REST}photos/<int:pk>/recognise/": "the photo, with who is on it",
    f"{REST}faces/<int:pk>/clear/": "the face",
}
"""Forms whose answer names the person, and why."""


@pytest.mark.parametrize("route", pages())
def test_no_refused_form_shows_a_name_without_the_reason(route: str, asking: World) -> None:
    client, address = asking.clients["owner"], asking.address(route)
    other = Person.objects.get(label="Bea")
    forms: tuple[dict[str, Any], ...] = (
        {},
        {"label": "Bea", "with": other.person_id},
        {"label": f"person{asking.keys['person_id']}", "name": "x", "sure": "1"},
        {"label": "Bea", "face": [asking.keys["face"]], "faces": [asking.keys["face"]]},
    )
    for form in forms:
        for header in ({"Accept": "text/html"}, {"Accept": "*/*", "HX-Request": "true"}):
            response = ask(client, "post", address, form, header)
            if response.status_code == 405:
                return
            text = without_question(response)
            if NAME in text and ASKS not in text:
                assert route in ANSWERS_TO_A_DEED, f"{address} shows the name for {form}"


def ask(client: Client, method: str, address: str, form: Any, header: dict[str, str]) -> Any:
    """One request, whose changes are taken back."""
    response = None
    with suppress(TakeBack), transaction.atomic():
        response = getattr(client, method)(address, form, headers=header)
        if not response.streaming:
            response.content  # noqa: B018
        raise TakeBack
    return response


class TakeBack(Exception):
    pass
