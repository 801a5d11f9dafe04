"""The history of calls, and one call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from persons.actions.keys import create_key
from persons.audit import Actor
from persons.models import Call, Recognition, Source, Team, User
from persons.models.calls import Outcome
from tests.support.calls import make_call
from tests.support.factories import GalleryFactory, PersonFactory, PhotoFactory, jpeg

SignIn = Callable[[User], Client]


def found(tag: str = "person1", **values: Any) -> dict[str, Any]:
    return {"tag": tag, "coord": [10, 8, 34, 38], "confidence": 0.987, "similarity": 0.812} | values


def history_url(team: Team) -> str:
    return reverse("history", args=[team.slug])


def call_url(call: Call) -> str:
    return reverse("call", args=[call.team.slug, call.pk])


def test_it_lists_every_call_with_who_how_and_what(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    make_call(team, actor=bob, method="set", image_count=3, duration_ms=2400)
    page = sign_in(alice).get(history_url(team)).text
    for text in ("Bob", "set", "Space 0", "Worker", "Done", "2.4 s"):
        assert text in page


def test_another_teams_calls_are_not_in_it(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    make_call(team, error="ours")
    theirs = make_call(charlie.teams.get(), method="truncate", actor_text="Somebody else")
    client = sign_in(alice)
    assert "Somebody else" not in client.get(history_url(team)).text
    assert client.get(reverse("call", args=[team.slug, theirs.pk])).status_code == 404


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("method=set", "Setter"),
        ("outcome=interrupted", "Interrupted one"),
        ("source=client", "Clienteer"),
        ("space=7", "Seventh"),
    ],
)
def test_the_filters_are_in_the_address(
    team: Team, alice: User, sign_in: SignIn, query: str, kept: str
) -> None:
    make_call(team, method="set", actor_text="Setter")
    make_call(team, outcome=Outcome.INTERRUPTED, actor_text="Interrupted one")
    make_call(team, source=Source.CLIENT, actor_text="Clienteer")
    make_call(team, space=team.spaces.get(number=7), actor_text="Seventh")
    page = sign_in(alice).get(f"{history_url(team)}?{query}").text
    shown = [name for name in ("Setter", "Interrupted one", "Clienteer", "Seventh") if name in page]
    assert shown == [kept]


@pytest.mark.parametrize("asked", ["page", "calls", "chart", "export", "rest"])
@pytest.mark.parametrize(
    "query",
    [
        "from=30.11.2026", "to=x", "method=drop", "outcome=x", "source=%00", "space=12", "space=x",
        "low=abc", "high=2", "gallery=gone", "address=1.2.3", "request=%27", "actor=x",
        "actor=999999", "key=x", "key=999999", "person=5.99999", "person=person99999",
        "low=0.9&high=0.1", "from=2026-02-02&to=2026-01-01", "q=" + "x" * 101, "key=" + "9" * 5000,
    ],
)  # fmt: skip
def test_a_filter_that_is_not_understood_is_an_error_that_names_it_everywhere(
    team: Team, alice: User, sign_in: SignIn, query: str, asked: str
) -> None:
    make_call(team, actor_text="Everybody")
    client = sign_in(alice)
    addresses = {
        "chart": reverse("history_chart", args=[team.slug]),
        "export": reverse("history_export", args=[team.slug, "csv"]),
        "rest": f"/rest/teams/{team.slug}/calls/",
    }
    headers = {"HX-Request": "true", "HX-Target": "calls"} if asked in ("calls", "chart") else {}
    address = addresses.get(asked, history_url(team))
    response = client.get(f"{address}?{query}", headers=headers)
    name = query.rpartition("&")[2].partition("=")[0]
    assert response.status_code == (422 if asked == "rest" else 400)
    assert "Everybody" not in response.text
    if asked == "rest":
        assert list(response.json()["fields"]) == [name]
    elif asked == "page":
        assert f'id="{name}-error"' in response.text
        assert f'aria-describedby="{name}-error"' in response.text
    else:
        assert name in response.text
        assert headers == {} or response["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("query", ["before=x", "after=-1", "before=" + "9" * 5000])
def test_a_place_that_is_none_is_an_error(
    team: Team, alice: User, sign_in: SignIn, query: str
) -> None:
    assert sign_in(alice).get(f"{history_url(team)}?{query}").status_code == 400


def test_a_closed_gallery_is_told_as_one_that_is_not_there(
    team: Team, vera: User, sign_in: SignIn
) -> None:
    GalleryFactory.create(team=team, slug="closed", is_open=False)
    client = sign_in(vera)
    gone, closed = (
        client.get(f"/rest/teams/{team.slug}/calls/?gallery={slug}") for slug in ("gone", "closed")
    )
    assert gone.status_code == closed.status_code == 422
    assert gone.text.replace("gone", "closed") == closed.text


def test_paging_is_by_key_and_keeps_the_filters(team: Team, alice: User, sign_in: SignIn) -> None:
    calls = [make_call(team, method="set", actor_text=f"Caller {n:03}") for n in range(60)]
    client = sign_in(alice)
    first = client.get(f"{history_url(team)}?method=set").text
    assert "Caller 059" in first
    assert "Caller 009" not in first
    assert f"?method=set&amp;before={calls[10].pk}" in first
    second = client.get(f"{history_url(team)}?method=set&before={calls[10].pk}").text
    assert "Caller 009" in second
    assert "Caller 010" not in second


@pytest.mark.parametrize("count", [3, 60])
def test_the_list_asks_the_same_number_of_queries_for_any_length(
    team: Team,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(count):
        make_call(team, actor=alice)
    client = sign_in(alice)
    with django_assert_num_queries(LIST_QUERIES):
        client.get(history_url(team))


LIST_QUERIES = 11
"""Session, user, membership; what there is to choose from; the calls and their facts; and the
frame's memberships and waiting faces."""


def test_a_running_call_makes_the_list_ask_again_and_an_ended_one_lets_it_rest(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    call = make_call(team, outcome=Outcome.RUNNING, duration_ms=None)
    client = sign_in(alice)
    assert 'hx-trigger="every 3s' in client.get(history_url(team)).text
    Call.objects.filter(pk=call.pk).update(outcome=Outcome.DONE)
    part = client.get(history_url(team), headers={"HX-Request": "true", "HX-Target": "calls"}).text
    assert part.lstrip().startswith('<div id="calls">')
    assert "<html" not in part


def test_a_call_shows_its_images_faces_names_and_the_raw_answer(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=0)
    anna = PersonFactory.create(space=space, label="Anna Zimmer")
    photo = PhotoFactory.create(
        gallery=GalleryFactory.create(team=team),
        file_name="harbour.jpg",
        prepared_at="2026-01-01T00:00Z",
    )
    call = make_call(team, answer='{"status": 200, "body": {"objects": []}}', meta={"space": "0"})
    faces = [found(anna.tag), found("undefined", similarity=0.2)]
    Recognition.objects.create(
        call=call, position=0, name=f"photo{photo.pk}", photo=photo, status=0, width=64, height=48,
        result={"persons": faces}, face_count=2,
    )  # fmt: skip
    page = sign_in(alice).get(call_url(call)).text
    for text in ("harbour.jpg", "Anna Zimmer", "unknown", "0.812", "0.987", "30 at 10, 8"):
        assert text in page
    assert '<rect x="10" y="8" width="24" height="30"' in page
    assert "&quot;objects&quot;: []" in page


def test_an_auditor_sees_the_call_without_photos_file_names_and_people(
    team: Team, audrey: User, sign_in: SignIn
) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=0), label="Anna Zimmer")
    photo = PhotoFactory.create(
        gallery=GalleryFactory.create(team=team),
        file_name="harbour.jpg",
        prepared_at="2026-01-01T00:00Z",
    )
    call = make_call(team)
    Recognition.objects.create(
        call=call, position=0, name=f"photo{photo.pk}", photo=photo, status=0,
        result={"persons": [found(anna.tag)]},
    )  # fmt: skip
    page = sign_in(audrey).get(call_url(call)).text
    assert anna.tag in page
    for text in ("Anna Zimmer", "harbour.jpg", "/media/", "/people/", f"/photos/{photo.pk}/"):
        assert text not in page


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome.RUNNING, "not answered yet"),
        (Outcome.INTERRUPTED, "asking again is safe"),
        (Outcome.TEMPORARY, "tried again, each time after a longer pause"),
        (Outcome.UNAVAILABLE, "The work waits"),
        (Outcome.REJECTED, "Sending the same again"),
        (Outcome.PARTIAL, "Some of the images failed"),
    ],
)
def test_an_outcome_that_is_no_success_is_explained(
    team: Team, alice: User, sign_in: SignIn, outcome: str, words: str
) -> None:
    call = make_call(team, outcome=outcome, error="the reason", duration_ms=None)
    page = sign_in(alice).get(call_url(call)).text
    assert words in page
    assert outcome == Outcome.RUNNING or "the reason" in page


@pytest.mark.parametrize(
    "result",
    [
        {"persons": "none"},
        {"persons": [None, 1, {}]},
        {"persons": [{"tag": None, "coord": [1, 2], "similarity": "high"}]},
        {"persons": [{"tag": "person99999999999999999999", "coord": [9, 9, 1, 1]}]},
        {"persons": [{"tag": "<script>alert(1)</script>", "coord": [None, 1, 2, 3]}]},
        [],
        {},
    ],
)
def test_whatever_a_server_answered_can_be_shown(
    team: Team, alice: User, sign_in: SignIn, result: Any
) -> None:
    call = make_call(team, answer="<html>502 Bad Gateway</html>")
    Recognition.objects.create(call=call, position=0, name="file", status=0, result=result)
    response = sign_in(alice).get(call_url(call))
    assert response.status_code == 200
    assert "<script>alert" not in response.text
    assert "&lt;html&gt;502" in response.text


def test_the_raw_answer_is_laid_out_and_copied_as_it_came(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    raw = json.dumps({"status": 200, "body": {"name": "Ünal"}})
    page = sign_in(alice).get(call_url(make_call(team, answer=raw))).text
    assert "  &quot;name&quot;: &quot;Ünal&quot;" in page
    assert 'data-copy="{&quot;status&quot;: 200' in page


@pytest.mark.parametrize("count", [3, 60])
def test_a_call_asks_the_same_number_of_queries_for_any_number_of_images(
    team: Team,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    gallery = GalleryFactory.create(team=team)
    space = team.spaces.get(number=0)
    call = make_call(team, image_count=count)
    for position in range(count):
        person = PersonFactory.create(space=space)
        photo = PhotoFactory.create(gallery=gallery, sha256=f"{position:064}")
        Recognition.objects.create(
            call=call, position=position, name=f"photo{position}", status=0,
            photo=photo, result={"persons": [found(person.tag)]},
        )  # fmt: skip
    client = sign_in(alice)
    with django_assert_num_queries(CALL_QUERIES):
        client.get(call_url(call))


CALL_QUERIES = 9
"""Session, user, membership twice, closed galleries, call, its counts, recognitions, people; and
the frame's two."""


def test_the_images_of_a_call_go_by_pages(team: Team, alice: User, sign_in: SignIn) -> None:
    call = make_call(team, image_count=45)
    Recognition.objects.bulk_create(
        Recognition(call=call, position=n, name=f"file{n}.", status=0, face_count=2)
        for n in range(45)
    )
    client = sign_in(alice)
    shown, address = [], call_url(call)
    while address:
        page = client.get(address)
        assert "with 90 faces" in page.text and '<span class="muted num">45</span>' in page.text
        shown.append([row.recognition.position for row in page.context["images"]])
        older = page.context["page"].older
        address = f"{call_url(call)}?before={older}" if older else ""
    assert shown == [list(range(20)), list(range(20, 40)), list(range(40, 45))]


def test_a_long_answer_has_an_address_of_its_own(
    team: Team, alice: User, audrey: User, charlie: User, sign_in: SignIn
) -> None:
    raw = json.dumps({"status": 200, "body": "<b>" + "x" * 30_000})
    call = make_call(team, answer=raw)
    address = reverse("call_answer", args=[team.slug, call.pk])
    page = sign_in(alice).get(call_url(call)).text
    assert address in page and "29.3\xa0KB" in page
    assert "xxxxxxxx" not in page
    for reader in (alice, audrey):
        response = sign_in(reader).get(address)
        assert json.loads(response.text) == json.loads(raw)
        assert response["Content-Type"] == "text/plain; charset=utf-8"
        assert response["X-Content-Type-Options"] == "nosniff"
    assert sign_in(charlie).get(address).status_code == 404
    none = reverse("call_answer", args=[team.slug, make_call(team).pk])
    assert sign_in(alice).get(none).status_code == 404


def test_the_answer_about_a_closed_gallery_is_not_told_to_others(
    team: Team, alice: User, vera: User, sign_in: SignIn
) -> None:
    call = make_call(team, answer='{"status": 200}')
    photo = PhotoFactory.create(gallery=GalleryFactory.create(team=team, is_open=False))
    Recognition.objects.create(call=call, position=0, name="file", photo=photo)
    address = reverse("call_answer", args=[team.slug, call.pk])
    assert sign_in(alice).get(address).status_code == 200
    assert sign_in(vera).get(address).status_code == 404


def test_the_filter_offers_the_newest_keys_and_the_one_that_is_asked_for(
    team: Team, alice: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.history.history.MOST_KEYS", 2)
    keys = [create_key(actor=Actor(alice, Source.PAGE), team=team, name=name)[0] for name in "ABCD"]
    page = sign_in(alice).get(history_url(team), {"key": keys[0].pk})
    assert [key.name for key in page.context["keys"]] == ["A", "C", "D"]
    assert page.context["chosen"] == {"key": str(keys[0].pk)}


def test_a_call_that_ends_while_it_is_looked_at_says_so(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    call = make_call(team, outcome=Outcome.RUNNING, duration_ms=None)
    client = sign_in(alice)
    assert 'hx-trigger="every 2s' in client.get(call_url(call)).text
    Call.objects.filter(pk=call.pk).update(outcome=Outcome.DONE, duration_ms=70)
    part = client.get(call_url(call), headers={"HX-Request": "true", "HX-Target": "call"}).text
    assert "every 2s" not in part
    assert "took 70 ms" in part


# --- Clients of the proxy ---


def test_a_clients_call_shows_its_key_address_cost_and_request(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    key, _ = create_key(actor=Actor.command("test"), team=team, name="Door camera")
    call = make_call(
        team, source=Source.CLIENT, key=key, actor_text="key Door camera", address="192.0.2.9",
        request_id="a1b2c3", backend="cloud", cost="0.18", image_count=3,
    )  # fmt: skip
    client = sign_in(alice)
    for page in (client.get(history_url(team)).text, client.get(call_url(call)).text):
        for words in ("Door camera", key.prefix, "192.0.2.9", "0.18\N{NO-BREAK SPACE}₽"):
            assert words in page
    assert "a1b2c3" in client.get(call_url(call)).text


def test_the_history_of_one_key_is_in_the_address(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    actor = Actor.command("test")
    door, _ = create_key(actor=actor, team=team, name="Door camera")
    theirs, _ = create_key(actor=actor, team=charlie.teams.get(), name="Theirs")
    make_call(team, key=door, meta={"space": "0"}, method="set")
    make_call(team, actor_text="Somebody else")
    client = sign_in(alice)
    assert "Somebody else" not in client.get(f"{history_url(team)}?key={door.pk}").text
    refused = client.get(f"{history_url(team)}?key={theirs.pk}")
    assert refused.status_code == 400
    assert "Somebody else" not in refused.text
    assert "Theirs" not in refused.text


def test_what_was_answered_from_the_store_says_that_nothing_was_sent(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    call = make_call(team, image_count=0, saved_count=2)
    client = sign_in(alice)
    assert "2 saved" in client.get(history_url(team)).text
    assert "Nothing was sent." in client.get(call_url(call)).text


def test_a_clients_picture_is_shown_where_it_was_kept_to_who_sees_photos(
    team: Team, vera: User, audrey: User, sign_in: SignIn
) -> None:
    call = make_call(team, source=Source.CLIENT)
    picture = jpeg()
    default_storage.save("probes/1/ab/abc", ContentFile(picture))
    kept = Recognition.objects.create(
        call=call, position=0, name="a", sha256="abc", image="probes/1/ab/abc", status=0
    )
    lost = Recognition.objects.create(call=call, position=1, name="b", sha256="abd", status=0)
    address = reverse("media_recognition", args=[team.slug, kept.pk])
    client = sign_in(vera)
    assert address in client.get(call_url(call)).text
    response = client.get(address)
    assert response["Content-Type"] == "image/jpeg"
    assert b"".join(response) == picture
    assert client.get(reverse("media_recognition", args=[team.slug, lost.pk])).status_code == 404
    assert address not in sign_in(audrey).get(call_url(call)).text
    assert sign_in(audrey).get(address).status_code == 404
