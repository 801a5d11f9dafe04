"""Visits by public links are all counted and shown, and the links' addresses reveal no times."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import signing
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import F
from django.test import Client
from django.utils import timezone

from dashboard.pages.public import public
from persons import pipeline
from persons.access import link_keys
from persons.access import links as share_links
from persons.actions.sharing import LinkOptions, make_link, revoke_link
from persons.models import AuditEntry, Gallery, Photo, ShareLink, Team, User
from tests.support.factories import GalleryFactory, PhotoFactory, jpeg
from tests.support.fakes import by
from tests.support.streams import leave

TAKEN = datetime(1969, 7, 20, 20, 17, 40, 123456, tzinfo=UTC)
"""Some of the photos were taken before computers count time."""


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake", name="Lake")
    return found


@pytest.fixture
def photos(gallery: Gallery) -> list[Photo]:
    """Newest first."""
    made = []
    for n in range(7):
        photo = PhotoFactory.create(
            gallery=gallery,
            with_file=True,
            prepared_at=timezone.now(),
            shown_at=TAKEN + timedelta(days=365 * (n // 2)),
        )
        for what in ("thumb", "large"):
            default_storage.save(photo.key(what), ContentFile(jpeg()))
        made.append(photo)
    return made[::-1]


def link_to(gallery: Gallery, owner: User, **options: Any) -> tuple[ShareLink, str]:
    link, token = make_link(actor=by(owner), gallery=gallery, options=LinkOptions(**options))
    return link, f"/s/{token}/"


def visits(link: ShareLink) -> int:
    return ShareLink.objects.get(pk=link.pk).view_count


def told(link: ShareLink) -> list[int]:
    entries = AuditEntry.objects.filter(action="link.view", target_id=str(link.pk)).order_by("pk")
    assert {(entry.actor, entry.address) for entry in entries} <= {(None, None)}
    return [entry.after["visits"] for entry in entries]


def a_minute_later() -> None:
    ShareLink.objects.update(told_at=F("told_at") - share_links.RECORDED_EVERY)


def ask(client: Client, address: str, **more: Any) -> int:
    response = client.get(address, **more)
    if response.streaming:
        b"".join(response.streaming_content)  # type: ignore[attr-defined]
    return response.status_code


# --- Counting ---


@pytest.mark.parametrize("what", ["", "photo/{pk}/", "photo/{pk}/thumb", "photo/{pk}/original"])
def test_whatever_is_fetched_first_begins_a_visit(
    what: str, gallery: Gallery, photos: list[Photo], alice: User
) -> None:
    link, home = link_to(gallery, alice, allow_download=True)
    address = home + what.format(pk=photos[0].pk)
    client = Client()
    for _ in range(3):
        assert ask(client, address) == 200
        ask(client, home)
        ask(client, f"{home}photo/{photos[1].pk}/large")
    assert visits(link) == 1
    for n in range(3):
        assert ask(Client(), address) == 200
        assert visits(link) == n + 2, "who keeps no cookies is counted each time"


def test_a_zip_begins_a_visit(gallery: Gallery, photos: list[Photo], alice: User) -> None:
    link, home = link_to(gallery, alice, allow_download=True)
    response = Client().post(f"{home}zip")
    leave(response)
    assert visits(link) == 1


def test_no_cookie_that_somebody_made_up_hides_a_visit(
    gallery: Gallery, photos: list[Photo], alice: User
) -> None:
    link, home = link_to(gallery, alice)
    other, elsewhere = link_to(gallery, alice)
    neighbour = Client()
    neighbour.get(elsewhere)
    theirs = neighbour.cookies[f"visit-pass{other.pk}"].value
    forged = signing.dumps(
        [link.pk, link.token_hash[:16]], key="x" * 50, salt=share_links.VISIT_SALT
    )
    for n, value in enumerate(("1", "", theirs, forged, "é")):
        client = Client()
        for name in (f"visit-pass{link.pk}", f"seen{link.pk}"):
            client.cookies[name] = value
        assert ask(client, home) == 200
        assert visits(link) == n + 1


def test_a_visit_is_over_after_an_hour(
    gallery: Gallery, photos: list[Photo], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, home = link_to(gallery, alice)
    client = Client()
    ask(client, home)
    ask(client, home)
    assert visits(link) == 1
    given = client.cookies[f"visit-pass{link.pk}"]
    assert (given["max-age"], given["path"], given["httponly"]) == (3600, home, True)
    earlier = signing.TimestampSigner.timestamp
    hour = signing.b62_encode(int(timezone.now().timestamp()) - 3601)
    with monkeypatch.context() as clock:
        clock.setattr(signing.TimestampSigner, "timestamp", lambda signer: hour)
        client.cookies[f"visit-pass{link.pk}"] = share_links.visit_of(link)
    assert signing.TimestampSigner.timestamp is earlier
    ask(client, home)
    assert visits(link) == 2


def test_what_shows_nothing_is_no_visit(gallery: Gallery, photos: list[Photo], alice: User) -> None:
    link, home = link_to(gallery, alice, password="over the hills")
    client = Client()
    assert ask(client, home) == 200
    assert client.post(home, {"password": "guess"}).status_code == 422
    assert client.post(home, {"password": "over the hills"}).status_code == 303
    for missing in ("photo/999999/", "photo/999999/thumb", f"photo/{photos[0].pk}/original"):
        assert ask(client, home + missing) == 404
    assert visits(link) == 0
    assert ask(client, home) == 200
    assert visits(link) == 1


def test_a_visit_that_can_t_be_counted_shows_nothing_and_holds_nothing(
    gallery: Gallery, photos: list[Photo], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_disk(**more: object) -> None:
        raise RuntimeError("the disk is full")

    _, home = link_to(gallery, alice, allow_download=True)
    client = Client(raise_request_exception=False)
    with monkeypatch.context() as broken:
        broken.setattr("dashboard.pages.public.visits.record_visit", no_disk)
        for _ in range(3):
            assert client.post(f"{home}zip").status_code == 500
    response = client.post(f"{home}zip")
    assert response.status_code == 200
    leave(response)


# --- Telling ---


def test_the_audit_tells_of_every_visit_at_most_once_a_minute(
    gallery: Gallery, photos: list[Photo], alice: User
) -> None:
    link, home = link_to(gallery, alice)
    for _ in range(4):
        ask(Client(), home)
    assert told(link) == [1]
    a_minute_later()
    ask(Client(), f"{home}photo/{photos[0].pk}/thumb")
    ask(Client(), home)
    assert told(link) == [1, 4]
    pipeline.sweep()
    assert told(link) == [1, 4], "a minute is not over"
    revoke_link(actor=by(alice), link=link)
    a_minute_later()
    pipeline.sweep()
    pipeline.sweep()
    assert told(link) == [1, 4, 1]
    assert sum(told(link)) == visits(link) == 6


# --- Addresses ---


def keys_of(client: Client, home: str, photos: list[Photo]) -> set[str]:
    texts = [client.get(home).text]
    texts += [client.get(f"{home}photo/{photo.pk}/").text for photo in photos]
    return set(re.findall(r"\?(?:at|before)=([^\"#&]+)", "\n".join(texts)))


@pytest.mark.parametrize("details", [False, True])
def test_no_time_can_be_read_out_of_a_links_addresses(
    details: bool,
    gallery: Gallery,
    photos: list[Photo],
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(public, "PAGE", 3)
    _, home = link_to(gallery, alice, show_details=details)
    keys = keys_of(Client(), home, photos)
    assert len(keys) == len(photos)
    moments = {int(photo.shown_at.timestamp()) for photo in photos}
    for key in keys:
        assert re.fullmatch(r"[\w-]{43}", key)
        raw = base64.urlsafe_b64decode(key + "=")
        for moment in moments:
            for unit in (1, 1000, 10**6):
                assert (moment * unit).to_bytes(8, "big", signed=True) not in raw
    # Neighbours in time have nothing in common, so keys can't be put in order.
    in_order = keys_in_order(photos)
    assert keys == set(in_order)
    assert in_order not in (sorted(keys), sorted(keys, reverse=True))


def keys_in_order(photos: list[Photo]) -> list[str]:
    link = ShareLink.objects.latest("pk")
    return [link_keys.key_of(link, photo) for photo in photos]


def test_a_key_can_neither_be_made_up_nor_taken_from_another_link(
    gallery: Gallery, photos: list[Photo], alice: User
) -> None:
    link, home = link_to(gallery, alice)
    other, _ = link_to(gallery, alice)
    right = link_keys.key_of(link, photos[2])
    assert right == link_keys.key_of(link, photos[2])
    assert link_keys.place_of(link, right) == (photos[2].shown_at, photos[2].pk)
    flipped = ("B" if right[0] == "A" else "A") + right[1:]
    wrong = (
        link_keys.key_of(other, photos[2]),
        flipped,
        right[:-2],
        f"{int(photos[2].shown_at.timestamp() * 10**6)}.{photos[2].pk}",
        "1234567890123456.1",
        "é",
        "x" * 5000,
        "%00",
    )
    client = Client()
    for key in wrong:
        for name in ("at", "before"):
            response = client.get(home, {name: key})
            assert response.status_code == 400, key
            assert name in response.text


def test_a_place_stays_where_its_photo_stood(
    gallery: Gallery, photos: list[Photo], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "PAGE", 3)
    _, home = link_to(gallery, alice)
    client = Client()
    more = re.search(r'rel="next" href="([^"]+)"', client.get(home).text)
    assert more
    Photo.objects.filter(pk=photos[2].pk).update(trashed_at=timezone.now())
    page = client.get(home + more[1]).text
    shown = list(map(int, re.findall(r'<li id="photo-(\d+)"', page)))
    assert shown == [photo.pk for photo in photos[3:6]]
