"""The audit log."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from dashboard.pages.audit.log import changes_of
from persons import audit
from persons.actions.galleries import create_gallery
from persons.actions.people import rename_person
from persons.actions.spaces import Policy, change_policy
from persons.audit import Actor
from persons.audit.words import WORDS
from persons.chain import entries, signing
from persons.chain.checking import Checked
from persons.models import AuditChain, AuditEntry, Source, Team, User
from persons.pipeline import release_claims, request_verification, verify_chain
from persons.pipeline.audit import verifying
from persons.work import Work, withdraw
from tests.support import tampering
from tests.support.factories import (
    FaceFactory,
    GalleryFactory,
    PersonFactory,
    PhotoFactory,
    UserFactory,
)
from tests.support.reading import read_text
from tests.support.waiting import waiting

SignIn = Callable[[User], Client]


def audit_url(team: Team) -> str:
    return reverse("audit", args=[team.slug])


def on_page(user: User | None) -> Actor:
    return Actor(user, Source.PAGE, address="192.0.2.7")


def test_an_entry_says_who_did_what_to_what_from_where(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=0), label="Ana")
    rename_person(actor=on_page(bob), person=anna, label="Anna")
    page = sign_in(alice).get(audit_url(team)).text
    for text in ("Bob</a> renamed", "192.0.2.7", "Page", "<del>Ana</del>", "<ins>Anna</ins>"):
        assert text in page
    assert reverse("person", args=[team.slug, 0, anna.person_id]) in page


def test_a_policy_change_is_told_setting_by_setting(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=4)
    change_policy(
        actor=on_page(alice),
        space=space,
        policy=Policy("Door", 0.5, 0.5, True, False, False, 0),
    )
    page = sign_in(alice).get(audit_url(team)).text
    assert "<del>0.4</del>" in page
    assert "<ins>0.5</ins>" in page
    assert "<dt>Update embeddings</dt><dd><del>off</del>" in page
    assert "Searcher" not in page


def test_another_teams_entries_are_not_in_it(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    other = charlie.teams.get()
    create_gallery(
        actor=on_page(charlie), team=other, name="Secret", space=other.spaces.get(number=0)
    )
    assert "Secret" not in sign_in(alice).get(audit_url(team)).text


def test_it_filters_by_action_and_by_actor(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=0)
    create_gallery(actor=on_page(alice), team=team, name="Alps", space=space)
    create_gallery(actor=on_page(bob), team=team, name="Baltic", space=space)
    audit.record(actor=on_page(bob), team=team, action="photo.upload", after={"size": 5120})
    client = sign_in(alice)
    page = client.get(f"{audit_url(team)}?actor={bob.pk}&action=gallery.create").text
    assert "Baltic" in page
    assert "Alps" not in page
    assert "5.0" not in read_text(page)


def test_somebody_who_left_can_still_be_filtered_by(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=0)
    create_gallery(actor=on_page(bob), team=team, name="Baltic", space=space)
    bob.memberships.all().delete()
    page = sign_in(alice).get(f"{audit_url(team)}?actor={bob.pk}").text
    assert "Baltic" in page
    assert "no longer a member" in page


def test_nobodys_name_is_learned_by_guessing_ids(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    page = sign_in(alice).get(f"{audit_url(team)}?actor={charlie.pk}").text
    assert "Charlie" not in page


@pytest.mark.parametrize("query", ["actor=x", "actor=%00", "action=drop", "before=-1", "after=²"])
def test_a_filter_that_means_nothing_is_ignored(
    team: Team, alice: User, sign_in: SignIn, query: str
) -> None:
    tell(team, "anything")
    response = sign_in(alice).get(f"{audit_url(team)}?{query}")
    assert response.status_code == 400
    name = query.partition("=")[0]
    assert f'id="{name}-error"' in response.text or f'">{name}</code>' in response.text
    assert "anything" not in response.text


def test_an_auditor_reads_it_without_links_to_what_is_closed_to_them(
    team: Team, audrey: User, bob: User, sign_in: SignIn
) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=0), label="Ana")
    rename_person(actor=on_page(bob), person=anna, label="Anna")
    page = sign_in(audrey).get(audit_url(team)).text
    assert "<ins>Anna</ins>" in page
    assert "/people/" not in page


def test_a_target_that_is_gone_has_no_link(team: Team, alice: User, sign_in: SignIn) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=0), label="Ana")
    rename_person(actor=on_page(alice), person=anna, label="Anna")
    address = reverse("person", args=[team.slug, 0, anna.person_id])
    anna.delete()
    page = sign_in(alice).get(audit_url(team)).text
    assert "<b>Anna</b>" in page
    assert address not in page


def test_a_target_of_another_team_has_no_link(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    theirs = GalleryFactory.create(team=charlie.teams.get(), name="Theirs")
    audit.record(actor=on_page(alice), team=team, action="gallery.rename", target=theirs)
    assert (
        reverse("gallery", args=[team.slug, theirs.slug])
        not in sign_in(alice).get(audit_url(team)).text
    )


def test_an_action_without_words_is_shown_as_it_is(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    audit.record(actor=on_page(alice), team=team, action="share_link.create", after={"days": 3})
    page = sign_in(alice).get(audit_url(team)).text
    assert "share link: create" in page
    assert "<dt>days</dt>" in page


def test_people_are_told_by_number_or_counted(team: Team, alice: User, sign_in: SignIn) -> None:
    for people in ([3, 8], 41):
        audit.record(
            actor=on_page(alice), team=team, action="groups.make", after={"people": people}
        )
    page = sign_in(alice).get(audit_url(team)).text
    assert "person3, person8" in page
    assert "41" in page


def test_every_action_that_is_recorded_has_words() -> None:
    recorded: set[str] = set()
    for path in Path("persons/actions").glob("*.py"):
        recorded |= set(re.findall(r'action="([a-z_.]+)"', path.read_text(encoding="utf-8")))
    assert recorded
    assert recorded <= WORDS.keys()


def test_numbers_by_place_and_kind_are_told_in_words() -> None:
    destroyed = {"faces": {"faces": 2, "attributes": 1}, "storage": {"files": 8}}
    entry = AuditEntry(after={"destroyed": destroyed, "rules": {"probes": 30}})
    assert [(change.field, change.after) for change in changes_of(entry)] == [
        ("Destroyed", "faces (faces 2, attributes 1), storage (files 8)"),
        ("Days", "probes 30"),
    ]


def test_nothing_that_stayed_the_same_is_told() -> None:
    entry = AuditEntry(before={"role": "viewer", "name": "a"}, after={"role": "owner", "name": "a"})
    assert [(change.before, change.after) for change in changes_of(entry)] == [("Viewer", "Owner")]


@pytest.mark.parametrize("count", [3, 60])
def test_it_asks_the_same_number_of_queries_for_any_length(
    team: Team,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    gallery = GalleryFactory.create(team=team)
    for n in range(count):
        photo = PhotoFactory.create(gallery=gallery, sha256=f"{n:064}")
        face = FaceFactory.create(photo=photo)
        person = PersonFactory.create(space=gallery.space)
        for target in (face, face.photo, gallery, person, gallery.space, alice):
            audit.record(actor=on_page(alice), team=team, action="a.b", target=target)
    client = sign_in(alice)
    with django_assert_num_queries(QUERIES):
        client.get(audit_url(team))


QUERIES = 14
"""Session, user, membership three times, entries, members; the spaces, galleries, photos, faces
and people that are linked to; the chain, what waits, its last seal; and the frame's two."""


# --- Filters ---


def shown(client: Client, team: Team, **query: str) -> list[str]:
    """The targets of the entries on the page, oldest first."""
    page = client.get(audit_url(team), query).text
    return re.findall(r"told-(\w{4,})", page)[::-1]


def tell(team: Team, name: str, **more: Any) -> AuditEntry:
    """An entry that is told as "told-NAME"."""
    fields: dict[str, Any] = {"action": "space.policy", "target_type": "space", "target_id": "0"}
    at = more.pop("at", None)
    fields |= more
    actor = on_page(fields.pop("user", None))
    actor = replace(
        actor,
        text=fields.pop("who", "Somebody"),
        address=fields.pop("address", "192.0.2.7"),
        request_id=fields.pop("request", "a" * 32),
    )
    entry = audit.new_entry(actor=actor, team=team, action=fields["action"])
    for key in ("target_type", "target_id"):
        setattr(entry, key, fields[key])
    entry.target_text, entry.reason = f"told-{name}", fields.get("reason", "")
    if at:
        entry.at = at
    entries.mark(entry, team.slug)
    entry.save(force_insert=True)
    return entry


@pytest.fixture
def told(team: Team, alice: User, bob: User) -> None:
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    tell(team, "first", user=alice, at=at, reason="Police")
    tell(team, "second", user=bob, at=at + timedelta(days=1), action="key.create")
    tell(team, "third", user=bob, at=at + timedelta(days=2), address="2001:db8::1")
    tell(team, "fourth", at=at + timedelta(days=2, minutes=5), target_type="photo", who="Zoë")
    tell(team, "fifth", user=bob, at=at + timedelta(days=3), request="b" * 32)
    tell(
        team,
        "call",
        at=at + timedelta(days=4),
        action="call.recognize",
        target_type="call",
        request="b" * 32,
    )


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, "first second third fourth fifth"),
        ({"calls": "1"}, "first second third fourth fifth call"),
        ({"kind": "call"}, "call"),
        ({"action": "call.recognize"}, "call"),
        ({"request": "b" * 32}, "fifth call"),
        ({"action": "key.create"}, "second"),
        ({"kind": "photo"}, "fourth"),
        ({"address": "2001:DB8:0:0::1"}, "third"),
        ({"address": "192.0.2.7", "action": "space.policy"}, "first fourth fifth"),
        ({"q": "police"}, "first"),
        ({"q": "ZO"}, "fourth"),
        ({"q": "told-f"}, "first fourth fifth"),
        ({"q": "100%"}, ""),
        ({"from": "2026-03-03"}, "third fourth fifth"),
        ({"to": "2026-03-03"}, "first second third fourth"),
        ({"from": "2026-03-03T12:01"}, "fourth fifth"),
        ({"from": "2026-03-02", "to": "2026-03-03T12:00"}, "second third"),
        (
            {"from": "2026-03-02", "q": "told", "kind": "space", "action": "space.policy"},
            "third fifth",
        ),
        ({"from": "2030-01-01"}, ""),
        ({"to": "2020-01-01"}, ""),
        ({"request": "c" * 32}, ""),
    ],
)
def test_filters_combine(
    team: Team, alice: User, told: None, sign_in: SignIn, query: dict[str, str], wanted: str
) -> None:
    assert shown(sign_in(alice), team, **query) == wanted.split()


def test_filters_stay_in_the_address_of_the_next_page(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    for number in range(60):
        tell(team, f"n{number}", user=bob, address="192.0.2.8")
        tell(team, f"other{number}", user=alice)
    client = sign_in(alice)
    page = client.get(
        audit_url(team), {"actor": str(bob.pk), "address": "192.0.2.8", "q": "told"}
    ).text
    (older,) = set(re.findall(r'href="(\?[^"]*before=[^"]*)"', page))
    found = re.findall(r"told-(\w+)", client.get(f"{audit_url(team)}{unescape(older)}").text)
    assert found == [f"n{number}" for number in range(9, -1, -1)]


@pytest.mark.parametrize(
    "query",
    [
        "from=x",
        "from=9999-12-31",
        "to=0001-01-01",
        "to=2026-02-31",
        "address=1.2.3",
        "request=%27",
        "kind=drop",
        "q=" + "x" * 500,
        "actor=x",
        "action=x",
        "calls=2",
        "before=x",
    ],
)
def test_what_is_no_filter_is_an_error_that_names_it(
    team: Team, alice: User, sign_in: SignIn, query: str
) -> None:
    tell(team, "anything")
    response = sign_in(alice).get(f"{audit_url(team)}?{query}")
    assert response.status_code == 400
    name = query.partition("=")[0]
    assert f'id="{name}-error"' in response.text or f'">{name}</code>' in response.text
    assert "anything" not in response.text


def test_entries_of_an_account_that_is_gone_stay_and_can_be_filtered(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    gone = UserFactory.create(username="gone", first_name="Gone")
    tell(team, "past", user=gone, who="")
    pk = gone.pk
    gone.delete()
    client = sign_in(alice)
    page = client.get(audit_url(team)).text
    assert f"?actor={pk}" in page and ">Gone</a>" in page
    assert shown(client, team, actor=str(pk)) == ["past"]
    assert client.get(f"/rest/teams/{team.slug}/audit/").status_code == 200


def test_words_of_what_is_closed_are_not_found_by_guessing(
    team: Team, bob: User, sign_in: SignIn
) -> None:
    secret = GalleryFactory.create(team=team, name="Secret", is_open=False)
    entry = tell(team, "secret", target_type="gallery", target_id=str(secret.pk))
    audit.concern(entry, [secret.pk])
    client = sign_in(bob)
    assert "something in a gallery that is closed to you" in client.get(audit_url(team)).text
    page = client.get(audit_url(team), {"q": "told-sec"}).text
    assert "closed to you" not in page and "told-secret" not in page


# --- The chain ---


def test_the_panel_says_how_the_chain_is(team: Team, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    assert "Not verified yet" in client.get(audit_url(team)).text
    tampering.chain_of(team, alice)
    tampering.written(team, alice, 3)
    verify_all()
    page = unescape(client.get(audit_url(team)).text)
    assert "The audit is whole" in page
    assert "No entry up to 12 was altered" in page
    assert re.search(r"Waiting for their place</dt><dd class=\"num\">3<", page)
    assert "at 12" in page and signing.fingerprint() in page


def test_a_problem_is_told_loudly(team: Team, audrey: User, sign_in: SignIn) -> None:
    chain = tampering.chain_of(team, audrey)
    tampering.rewrite(chain[4], reason="another")
    verify_all()
    page = sign_in(audrey).get(audit_url(team)).text
    assert "The audit was altered" in page
    assert f"Entry 5 (number {chain[4].pk}): what it says of its target was altered." in page
    tampering.rewrite(chain[4], reason="Because")
    verify_all()
    assert "The audit is whole" in sign_in(audrey).get(audit_url(team)).text


def test_seals_that_are_not_copied_are_told(
    team: Team, alice: User, sign_in: SignIn, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    settings.AUDIT_SEALS = str(tmp_path / "file")
    tampering.chain_of(team, alice)
    page = sign_in(alice).get(audit_url(team)).text
    assert "2 seals not copied yet" in page and str(tmp_path / "file") in page


def test_an_auditor_has_it_verified_in_the_background(
    team: Team,
    audrey: User,
    sign_in: SignIn,
    eager: None,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    tampering.chain_of(team, audrey)
    client = sign_in(audrey)
    url = reverse("audit_verify", args=[team.slug])
    with django_capture_on_commit_callbacks() as callbacks:
        page = client.post(url, headers={"HX-Request": "true"}).text
    assert "Waiting for a worker" in page and reverse("audit_chain", args=[team.slug]) in page
    assert "Verify now" not in page
    with django_capture_on_commit_callbacks() as more:
        assert client.post(url).status_code == 303
    assert (len(callbacks), len(more)) == (1, 0), "asked twice, it is verified once"
    callbacks[0]()
    poll = client.get(reverse("audit_chain", args=[team.slug]), headers={"HX-Request": "true"}).text
    assert "No entry up to 12" in poll and "hx-trigger" not in poll
    assert client.get(reverse("audit_chain", args=[team.slug])).status_code == 302


def verify_all() -> None:
    """As the worker does at night."""
    request_verification(AuditChain.objects.all())
    for chain_pk in waiting(Work.VERIFY):
        verify_chain(chain_pk)


@pytest.fixture
def requested(team: Team, alice: User) -> AuditChain:
    tampering.chain_of(team, alice)
    chains = AuditChain.objects.filter(team=team)
    assert request_verification(chains) == 1 and request_verification(chains) == 0
    return chains.get()


def test_a_verification_whose_worker_died_is_done_again(requested: AuditChain) -> None:
    assert requested.pk in waiting(Work.VERIFY)
    assert verifying.VERIFYING.claim(AuditChain.objects.filter(pk=requested.pk))
    assert requested.pk not in waiting(Work.VERIFY) and not verify_chain(requested.pk)
    assert not release_claims()
    long_ago = timezone.now() - timedelta(hours=1)
    AuditChain.objects.filter(pk=requested.pk).update(claimed_at=long_ago)
    assert release_claims() == 1
    assert requested.pk in waiting(Work.VERIFY) and verify_chain(requested.pk)
    assert not verify_chain(requested.pk)
    requested.refresh_from_db()
    assert requested.verified_sequence == 12 and not requested.is_being_verified


def test_a_worker_that_lost_its_lease_stores_no_verification(
    requested: AuditChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(team: Team, progress: Callable[[int], None]) -> Checked:
        withdraw(AuditChain.objects.filter(pk=requested.pk), verification=verifying.QUEUED)
        return Checked(5, "A text.")

    monkeypatch.setattr(verifying, "check", lose)
    assert not verify_chain(requested.pk)
    requested.refresh_from_db()
    assert requested.is_being_verified and not requested.problem
    assert requested.verified_sequence == 0


def test_a_verification_that_is_always_cut_off_is_given_up_and_can_be_requested_again(
    requested: AuditChain, team: Team, sign_in: SignIn, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> Checked:
        raise MemoryError

    monkeypatch.setattr(verifying, "check", fail)
    chains = AuditChain.objects.filter(pk=requested.pk)
    for _ in range(settings.MAX_ATTEMPTS):
        chains.update(after=timezone.now())
        with pytest.raises(MemoryError):
            verify_chain(requested.pk)
    assert requested.pk not in waiting(Work.VERIFY)
    panel = sign_in(alice).get(reverse("audit", args=[team.slug])).text
    assert "The verification was cut off" in panel and "The audit was altered" not in panel
    monkeypatch.undo()
    assert request_verification(chains) == 1 and verify_chain(requested.pk)
    requested.refresh_from_db()
    assert not requested.verification_error and requested.verified_sequence == 12


def test_an_export_is_a_zip_and_has_its_entry(
    team: Team, audrey: User, sign_in: SignIn, tmp_path: Path
) -> None:
    tampering.chain_of(team, audrey)
    response = sign_in(audrey).get(reverse("audit_export", args=[team.slug]))
    assert response["Content-Type"] == "application/zip"
    content = io.BytesIO(b"".join(response.streaming_content))  # type: ignore[attr-defined]
    with zipfile.ZipFile(content) as archive:
        archive.extractall(tmp_path)
    assert len((tmp_path / "entries.jsonl").read_bytes().splitlines()) == 13
    entry = AuditEntry.objects.get(action="audit.export")
    assert (entry.actor, entry.sequence) == (audrey, 13)


def test_an_export_asks_why_where_the_team_wants_to_know(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    team.require_reasons = ["export"]
    team.save()
    client = sign_in(alice)
    url = reverse("audit_export", args=[team.slug])
    assert "Exporting the audit log" in client.get(url).text
    # A link that says `download` would save the question as a file.
    assert f'href="{url}">' in client.get(audit_url(team)).text
    assert not AuditEntry.objects.filter(action="audit.export").exists()
    asked = {"purpose": "export", "target": "audit", "words": "The court asked", "next": url}
    assert client.post(reverse("reason", args=[team.slug]), asked)["Location"] == url
    assert client.get(url)["Content-Type"] == "application/zip"
    assert AuditEntry.objects.get(action="audit.export").reason == "The court asked"
