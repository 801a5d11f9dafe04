"""Reasons for looking a person up, opening evidence or exporting, in teams that demand them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from persons.errors import Refused
from persons.models import AuditEntry, Call, Finding, Person, Recognition, Source, Team, User
from persons.privacy import access_reasons
from tests.support import factories, wire
from tests.support.wire import file, meta, pictures

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]


@pytest.fixture
def person(team: Team) -> Person:
    found: Person = factories.PersonFactory.create(space=team.spaces.get(number=0), label="Anna")
    return found


@pytest.fixture
def finding(team: Team) -> Finding:
    call = Call.objects.create(team=team, method="recognize", source=Source.CLIENT, backend="cloud")
    row = Recognition.objects.create(call=call, position=0, name="file")
    return Finding.objects.create(team=team, call=call, recognition=row, position=0)


def ask_for(team: Team, *purposes: str, choices: tuple[str, ...] = ()) -> None:
    Team.objects.filter(pk=team.pk).update(
        require_reasons=list(purposes), reason_choices=list(choices)
    )


def person_url(person: Person) -> str:
    return reverse("person", args=["trip", 0, person.person_id])


def evidence_url(finding: Finding) -> str:
    where = [finding.team.slug, finding.call_id, finding.recognition_id, finding.position]
    return reverse("evidence", args=where)


GIVE = "/t/trip/reason/"


def test_nothing_is_asked_where_the_team_does_not_want_it(
    team: Team, person: Person, alice: User, sign_in: SignIn
) -> None:
    assert "Anna" in sign_in(alice).get(person_url(person)).text
    assert not AuditEntry.objects.filter(action="reason.given").exists()


def test_a_person_is_shown_after_the_reason_and_it_is_in_the_audit(
    team: Team, person: Person, bob: User, sign_in: SignIn
) -> None:
    ask_for(team, "person")
    client = sign_in(bob)
    page = client.get(person_url(person) + "?view=photos").text
    assert "Anna" not in page
    assert "Looking a person up needs a reason" in page
    assert f'name="next" value="{person_url(person)}?view=photos"' in page
    given = {"purpose": "person", "target": person.pk, "next": person_url(person)}
    response = client.post(GIVE, given | {"words": "  case\n12 "})
    assert (response.status_code, response["Location"]) == (303, person_url(person))
    assert "Anna" in client.get(person_url(person)).text
    entry = AuditEntry.objects.get(action="reason.given")
    assert (entry.reason, entry.actor, entry.target_type) == ("case 12", bob, "person")
    assert entry.target_id == str(person.pk)
    assert entry.after == {"purpose": "person"}


def test_a_reason_holds_for_half_an_hour_and_for_that_alone(
    team: Team, person: Person, bob: User, alice: User, sign_in: SignIn
) -> None:
    ask_for(team, "person", "export")
    other = factories.PersonFactory.create(space=person.space, label="Bea")
    client = sign_in(bob)
    client.post(GIVE, {"purpose": "person", "target": person.pk, "words": "case 12"})
    assert "Anna" in client.get(person_url(person)).text
    assert "Bea" not in client.get(person_url(other)).text
    assert "Why?" in client.get(reverse("history_export", args=["trip", "csv"])).text
    assert "Anna" not in sign_in(alice).get(person_url(person)).text
    session = client.session
    key = f"{team.pk}:person:{person.pk}"
    said, until = session["reasons"][key]
    wanted = timezone.now() + access_reasons.KEPT
    assert abs(until - wanted.timestamp()) < 60
    session["reasons"] = {key: [said, (timezone.now() - timedelta(seconds=1)).timestamp()]}
    session.save()
    assert "Anna" not in client.get(person_url(person)).text


def test_without_words_it_is_asked_again(
    team: Team, person: Person, bob: User, sign_in: SignIn
) -> None:
    ask_for(team, "person")
    client = sign_in(bob)
    response = client.post(GIVE, {"purpose": "person", "target": person.pk, "words": " \t "})
    assert response.status_code == 422
    assert "Say why, in a few words." in response.text
    assert "Anna" not in client.get(person_url(person)).text
    assert not AuditEntry.objects.exists()


def test_where_there_is_a_list_one_of_it_is_chosen(
    team: Team, person: Person, bob: User, sign_in: SignIn
) -> None:
    ask_for(team, "person", choices=("A case", "A complaint"))
    client = sign_in(bob)
    assert "<option>A complaint</option>" in client.get(person_url(person)).text
    given = {"purpose": "person", "target": person.pk}
    refused = client.post(GIVE, given | {"choice": "Curiosity", "words": "x"})
    assert "Choose one of the reasons." in refused.text
    client.post(GIVE, given | {"choice": "A case", "words": "number 12"})
    assert AuditEntry.objects.get().reason == "A case: number 12"


def test_evidence_and_exports_carry_the_reason_in_their_own_entries(
    team: Team, finding: Finding, audrey: User, sign_in: SignIn
) -> None:
    ask_for(team, "evidence", "export")
    client = sign_in(audrey)
    assert "Opening evidence needs a reason" in client.get(evidence_url(finding)).text
    assert not AuditEntry.objects.exists()
    client.post(GIVE, {"purpose": "evidence", "target": finding.pk, "words": "case 12"})
    assert "Evidence of a recognised face" in client.get(evidence_url(finding)).text
    assert AuditEntry.objects.get(action="evidence.open").reason == "case 12"
    export = reverse("history_export", args=["trip", "csv"])
    client.post(GIVE, {"purpose": "export", "target": "history", "words": "the court's order"})
    b"".join(client.get(export).streaming_content)  # type: ignore[attr-defined]
    entries = AuditEntry.objects.filter(action__startswith="history.")
    assert set(entries.values_list("reason", flat=True)) == {"the court's order"}


def test_a_program_says_it_in_a_header(
    team: Team, finding: Finding, person: Person, alice: User, sign_in: SignIn
) -> None:
    ask_for(team, "evidence", "person")
    client = sign_in(alice)
    json = {"format": "json"}
    refused = client.get(evidence_url(finding), json)
    assert (refused.status_code, "X-Rollcall-Reason" in refused.text) == (403, True)
    anything = client.get(evidence_url(finding), headers={"Accept": "*/*"})
    assert (anything.status_code, "X-Rollcall-Reason" in anything.text) == (403, True)
    header = {"X-Rollcall-Reason": "дело 12".encode().decode("latin-1")}
    assert client.get(evidence_url(finding), json, headers=header).status_code == 200
    assert AuditEntry.objects.get().reason == "дело 12"
    rest = f"/rest/teams/trip/spaces/0/people/{person.person_id}/"
    for address in (rest, f"{rest}enrolments/"):
        assert client.get(address).status_code == 403
        assert client.get(address, headers=header).status_code == 200
    views = AuditEntry.objects.filter(action="person.view", target_id=str(person.pk))
    assert [entry.reason for entry in views] == ["дело 12"] * 2, "each look has its entry"


def test_a_browser_says_it_in_no_header(
    team: Team, finding: Finding, person: Person, bob: User, sign_in: SignIn
) -> None:
    """Whatever is typed into a page's console is not a reason: the question is asked."""
    ask_for(team, "evidence", "person", "export")
    client = sign_in(bob)
    header = {"X-Rollcall-Reason": "x", "Accept": "text/html,*/*;q=0.8"}
    call = reverse("call", args=["trip", finding.call_id])
    for address in (person_url(person), evidence_url(finding), call, "/t/trip/people/"):
        page = client.get(address, headers=header)
        assert "Why?" in page.text and "Anna" not in page.text, address
        part = client.get(address, headers=header | {"HX-Request": "true", "Accept": "*/*"})
        assert part["HX-Redirect"].startswith(GIVE) and "Anna" not in part.text
    assert not AuditEntry.objects.exists()


def test_a_programs_reason_is_one_of_the_teams_where_it_has_a_list(
    team: Team, finding: Finding, person: Person, alice: User, sign_in: SignIn
) -> None:
    ask_for(team, "evidence", "person", choices=("A case", "A complaint"))
    client = sign_in(alice)
    rest = f"/rest/teams/trip/spaces/0/people/{person.person_id}/"
    wanted = ((evidence_url(finding) + "?format=json", "evidence.open"), (rest, "person.view"))
    for address, action in wanted:
        for said in ("x", "A caseload", "a case"):
            refused = client.get(address, headers={"X-Rollcall-Reason": said})
            assert refused.status_code == 403
            assert "is none of: A case; A complaint." in refused.text
        for said in ("A complaint", "A case: number 12"):
            assert client.get(address, headers={"X-Rollcall-Reason": said}).status_code == 200
        entries = AuditEntry.objects.filter(action=action).order_by("pk")
        assert [entry.reason for entry in entries] == ["A complaint", "A case: number 12"]
    assert AuditEntry.objects.count() == 4


def test_each_page_has_its_entry_and_a_part_of_it_has_none_of_its_own(
    team: Team, person: Person, bob: User, sign_in: SignIn
) -> None:
    ask_for(team, "person")
    client, address = sign_in(bob), person_url(person)
    client.post(GIVE, {"purpose": "person", "target": person.pk, "words": "case 12"})
    views = AuditEntry.objects.filter(action="person.view")
    part = {"HX-Request": "true", "HX-Target": "person-live"}
    client.get(address, headers=part)
    assert views.count() == 1, "a part without its page"
    client.get(address)
    client.get(address + "company", headers=part)
    client.get(address, headers=part)
    assert views.count() == 2
    client.get(address)
    assert views.count() == 3
    for entry in views:
        assert (entry.reason, entry.target_id, entry.actor) == ("case 12", str(person.pk), bob)
        assert entry.after == {"space": 0, "person_id": person.person_id}


def test_a_refused_rename_is_no_way_around_the_question(
    team: Team, person: Person, bob: User, sign_in: SignIn
) -> None:
    ask_for(team, "person")
    client = sign_in(bob)
    other = factories.PersonFactory.create(space=person.space, label="Bea")
    address = reverse("person_rename", args=["trip", 0, person.person_id])
    page = client.post(address, {"label": other.label})
    assert "Why?" in page.text and "Anna" not in page.text
    assert f'name="next" value="{person_url(person)}"' in page.text
    client.post(GIVE, {"purpose": "person", "target": person.pk, "words": "case 12"})
    page = client.post(address, {"label": other.label})
    assert page.status_code == 422 and "Anna" in page.text
    assert AuditEntry.objects.filter(action="person.view").count() == 1


def test_people_who_are_shown_with_somebody_have_an_entry_each(
    team: Team, person: Person, bob: User, sign_in: SignIn
) -> None:
    ask_for(team, "person")
    client = sign_in(bob)
    other = factories.PersonFactory.create(space=person.space, label="Bea")
    address = reverse("person_merge", args=["trip", 0, person.person_id])
    query = {"with": other.person_id}
    assert "Bea" not in client.get(address, query).text
    client.post(GIVE, {"purpose": "person", "target": person.pk, "words": "case 12"})
    assert "Bea" in client.get(address, query).text
    views = AuditEntry.objects.filter(action="person.view", reason="case 12")
    assert set(views.values_list("target_id", flat=True)) == {str(person.pk), str(other.pk)}


def test_a_clients_reason_is_kept_with_its_call_and_is_not_on_the_wire(team: Team) -> None:
    token = wire.make_key(team)[1]
    ask = wire.in_process(token)
    sent = {"X-Rollcall-Reason": "gate 4"}
    got = ask("recognize", file("file", factories.jpeg()), meta(pictures()), headers=sent)
    assert Call.objects.get().reason == "gate 4"
    assert b"gate 4" not in got.raw
    assert AuditEntry.objects.get(action="call.recognize").reason == "gate 4"


def test_a_part_of_the_page_moves_the_whole_page_to_be_asked(
    team: Team, person: Person, bob: User, sign_in: SignIn
) -> None:
    ask_for(team, "person")
    headers = {
        "HX-Request": "true",
        "HX-Target": "person-view",
        "HX-Current-URL": f"http://testserver{person_url(person)}",
    }
    response = sign_in(bob).get(person_url(person), headers=headers)
    assert "Anna" not in response.text
    page = sign_in(bob).get(response["HX-Redirect"]).text
    assert "Looking a person up needs a reason" in page
    assert f'name="next" value="{person_url(person)}"' in page


@pytest.mark.parametrize(
    "given",
    [
        {"purpose": "person", "target": "999999"},
        {"purpose": "evidence", "target": "999999"},
        {"purpose": "export", "target": "secrets"},
        {"purpose": "curiosity", "target": "1"},
        {"purpose": "person", "target": "../x"},
        {"purpose": "person", "target": "call-1"},
        {"purpose": "person", "target": "x-1"},
        {"purpose": "evidence", "target": "all"},
        {"purpose": "evidence", "target": "call-999999"},
        {"purpose": "person"},
    ],
)
def test_a_reason_for_nothing_is_none(
    team: Team, bob: User, sign_in: SignIn, given: dict[str, str]
) -> None:
    assert sign_in(bob).get(GIVE, given).status_code == 404
    assert sign_in(bob).post(GIVE, given | {"words": "x"}).status_code == 404
    assert not AuditEntry.objects.exists()


def test_it_leads_back_to_a_page_of_ours_alone(
    team: Team, person: Person, bob: User, sign_in: SignIn
) -> None:
    given = {"purpose": "person", "target": person.pk, "words": "x"}
    response = sign_in(bob).post(GIVE, given | {"next": "https://elsewhere.example/"})
    assert response["Location"] == "/t/trip/"


def test_owners_choose_for_what_it_is_asked(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    address = reverse("team_reasons", args=["trip"])
    data = {"purpose": ["export", "person", "x"], "choices": "A case\n\n  A case \nA  complaint\n"}
    assert sign_in(bob).post(address, data).status_code == 403
    client = sign_in(alice)
    client.post(address, data)
    team.refresh_from_db()
    assert team.require_reasons == ["person", "export"]
    assert team.reason_choices == ["A case", "A complaint"]
    entry = AuditEntry.objects.get(action="team.reasons")
    assert entry.before == {"require_reasons": [], "reason_choices": []}
    page = client.get(reverse("members", args=["trip"])).text
    assert '<input type="checkbox" name="purpose" value="person" checked>' in page
    assert "A complaint" in page
    assert "Before these you are asked why" in sign_in(bob).get("/t/trip/members/").text


def test_a_reason_is_one_line_of_plain_letters() -> None:
    assert access_reasons.plain("a\x00b\r\nc\u202ed  e") == "ab cd e"
    assert len(access_reasons.plain("x" * 900)) == access_reasons.LONGEST
    assert access_reasons.of_header(None) == ""
    assert access_reasons.of_header("caf\xe9") == "café"
    with pytest.raises(Refused):
        access_reasons.clean(Team(reason_choices=["A"]), "", "words")
