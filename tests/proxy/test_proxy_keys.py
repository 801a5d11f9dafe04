"""API keys of the proxy: shown once, limited exactly to the image, and useless when revoked."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from persons.actions.keys import KeyOptions, create_key, revoke_key
from persons.audit import Actor
from persons.errors import Refused
from persons.models import ApiKey, AuditEntry, Call, KeyDay, Source, Team
from persons.proxy import keys
from persons.vision.errors import VisionTemporary, VisionUnavailable
from tests.support import fakes, wire
from tests.support.processes import PATIENCE
from tests.support.wire import Gunicorn, Vision, file, in_process, make_key, meta, people, pictures

ACTOR = Actor(user=None, source=Source.COMMAND, text="tests")
PICTURE = file("file", b"picture")
OF_SPACE_5 = {
    "set": (PICTURE, meta(people())),
    "recognize": (PICTURE, meta(pictures())),
    "delete": (meta(people()),),
    "truncate": (meta({"space": "5"}),),
}


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Vision:
    return wire.use(monkeypatch, Vision())


def outcome(token: str, method: str = "recognize", **options: Any) -> tuple[int, Any]:
    return in_process(token)(method, *OF_SPACE_5[method], **options).outcome


def used(key: ApiKey) -> int:
    """Images of today."""
    today = timezone.now().astimezone(UTC).date()
    row = KeyDay.objects.filter(key=key, day=today).first()
    return row.images if row else 0


# --- What is kept of a key -----------------------------------------------------------------------


def test_a_key_is_kept_as_its_hash_alone(team: Team) -> None:
    key, text = make_key(team)
    row = ApiKey.objects.get()
    assert row.key_hash == hashlib.sha256(text.encode()).hexdigest()
    assert len(text) >= 40 and text.startswith(row.prefix) and len(row.prefix) <= 12
    everywhere = json.dumps(fakes.everything(), default=str)
    assert text not in everywhere and text[12:] not in everywhere
    assert text not in repr(key) + str(key)


def test_no_two_keys_are_alike(team: Team) -> None:
    assert len({make_key(team)[1] for _ in range(20)}) == 20


def test_the_history_and_the_audit_log_hold_no_key(
    team: Team, vision: Vision, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    key, text = make_key(team)
    for method in wire.METHODS:
        assert outcome(text, method)[0] == 200
    revoke_key(actor=ACTOR, key=key)
    assert outcome(text)[0] == 403
    everywhere = json.dumps(fakes.everything(), default=str) + caplog.text
    assert text not in everywhere and text[12:] not in everywhere


def test_making_and_revoking_are_in_the_audit_log(team: Team) -> None:
    key, _ = make_key(team, methods=["set"], spaces=[3], daily_images=7)
    revoke_key(actor=ACTOR, key=key)
    revoke_key(actor=ACTOR, key=key)
    made, revoked = AuditEntry.objects.order_by("pk")
    assert (made.action, revoked.action) == ("key.create", "key.revoke")
    assert made.after == {
        "methods": ["set"],
        "spaces": [3],
        "scopes": ["create", "learn"],
        "daily_images": 7,
        "fit": True,
        "expires_at": None,
    }


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"name": "  "}, "a name"),
        ({"name": "x" * 101}, "a name"),
        ({"methods": ["set", "drop"]}, "“drop” is no method"),
        ({"spaces": [10]}, "Spaces are numbered 0 to 9"),
        ({"spaces": [-1]}, "Spaces are numbered 0 to 9"),
        ({"scopes": ["create", "drop"]}, "“drop” is no scope. There are create, learn."),
        ({"scopes": ["read"]}, "“read” can't be given to a key yet"),
        ({"daily_images": 0}, "at least one image"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expired already"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    team: Team, limits: dict[str, Any], says: str
) -> None:
    name = limits.get("name", "x")
    options = KeyOptions(**{key: value for key, value in limits.items() if key != "name"})
    with pytest.raises(Refused, match=says):
        create_key(actor=ACTOR, team=team, name=name, options=options)
    assert not ApiKey.objects.exists()


# --- The command ---------------------------------------------------------------------------------


def command(*args: str) -> str:
    out = io.StringIO()
    call_command("create_api_key", *args, stdout=out)
    return out.getvalue()


def test_the_command_prints_the_key_alone(team: Team, vision: Vision) -> None:
    printed = command("--team", "trip", "--name", "Turnstile")
    text = printed.removesuffix("\n")
    assert text == text.strip() and "\n" not in text and text.startswith("rck_")
    assert outcome(text)[0] == 200


def test_the_command_takes_the_limits(team: Team) -> None:
    command(
        *("--team", "trip", "--name", "Turnstile", "--methods", "set, recognize"),
        *("--spaces", "0,5", "--daily-images", "100"),
    )
    key = ApiKey.objects.get()
    assert (key.methods, key.spaces, key.daily_images) == (["recognize", "set"], [0, 5], 100)
    assert AuditEntry.objects.get().actor_text == "manage.py create_api_key"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--team", "none", "--name", "x"), "There is no team “none”"),
        (("--team", "trip", "--name", " "), "a name"),
        (("--team", "trip", "--name", "x", "--methods", "all"), "“all” is no method"),
        (("--team", "trip", "--name", "x", "--spaces", "a"), "takes numbers"),
        (("--team", "trip", "--name", "x", "--spaces", "12"), "0 to 9"),
        (("--team", "trip", "--name", "x", "--daily-images", "0"), "at least one image"),
    ],
)
def test_the_command_says_what_is_wrong(team: Team, args: tuple[str, ...], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        command(*args)
    assert not ApiKey.objects.exists()


# --- Who is refused ------------------------------------------------------------------------------


def test_without_a_key_every_method_is_refused(team: Team) -> None:
    for method in wire.METHODS:
        got = outcome("", method, query={})
        assert got == (403, "no oauth_token has been provided")


@pytest.mark.parametrize("token", ["x", "rck_" + "a" * 43, "\0", "ключ", "' OR 1=1 --", "x" * 5000])
def test_an_unknown_key_is_refused_and_not_repeated(team: Team, token: str) -> None:
    make_key(team)
    for method in wire.METHODS:
        assert outcome(token, method) == (403, "the oauth_token is unknown")


def test_the_hash_of_a_key_and_its_prefix_are_no_keys(team: Team) -> None:
    key, _ = make_key(team)
    assert outcome(key.key_hash) == (403, "the oauth_token is unknown")
    assert outcome(key.prefix) == (403, "the oauth_token is unknown")


def test_a_revoked_key_is_refused_from_the_next_request_on(team: Team, vision: Vision) -> None:
    key, text = make_key(team)
    assert outcome(text)[0] == 200
    revoke_key(actor=ACTOR, key=key)
    for method in wire.METHODS:
        assert outcome(text, method) == (403, "the oauth_token was revoked")
    assert len(vision.asked) == 1


def test_a_key_expires_at_its_moment(team: Team, vision: Vision) -> None:
    key, text = make_key(team, expires_at=timezone.now() + timedelta(hours=1))
    assert outcome(text)[0] == 200
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
    for method in wire.METHODS:
        assert outcome(text, method) == (403, "the oauth_token has expired")


def test_a_key_is_for_its_methods(team: Team, vision: Vision) -> None:
    _, text = make_key(team, methods=["recognize", "delete"])
    got = {method: outcome(text, method) for method in wire.METHODS}
    assert {method: status for method, (status, _) in got.items()} == {
        "set": 403,
        "recognize": 200,
        "delete": 200,
        "truncate": 403,
    }
    assert got["set"][1] == "this oauth_token may not be used for set"
    assert vision.methods() == ["recognize", "delete"]


def test_a_key_is_for_its_spaces(team: Team, vision: Vision) -> None:
    _, text = make_key(team, spaces=[0, 7])
    ask = in_process(text)
    for number in range(10):
        got = ask("recognize", PICTURE, meta(pictures(space=str(number)))).outcome
        if number in (0, 7):
            assert got[0] == 200
        else:
            assert got == (403, f"this oauth_token may not be used for space {number}")
    for method in ("set", "delete", "truncate"):
        assert outcome(text, method) == (403, "this oauth_token may not be used for space 5")
    assert len(vision.asked) == 2


def test_a_key_opens_its_own_team_alone(team: Team, charlie: Any, vision: Vision) -> None:
    """The same space number is another team's space."""
    others = charlie.teams.get()
    _, text = make_key(others)
    assert outcome(text, "set")[0] == 200
    assert Call.objects.get().team == others
    assert not team.spaces.get(number=5).people.exists()
    assert others.spaces.get(number=5).people.count() == 1


def test_a_refused_request_is_no_call_and_costs_no_quota(team: Team, vision: Vision) -> None:
    key, text = make_key(team, methods=["recognize"], spaces=[0], daily_images=10)
    outcome(text, "set")
    outcome(text)
    in_process(text)("recognize", PICTURE, meta("no JSON"))
    in_process(text)("recognize", meta(pictures(space="0")))
    assert used(key) == 0
    assert not Call.objects.exists() and not vision.asked


# --- When and from where -------------------------------------------------------------------------


def test_a_key_shows_when_and_from_where_it_was_used(team: Team, vision: Vision) -> None:
    key, text = make_key(team)
    assert key.last_used_at is None and key.last_used_address is None
    before = timezone.now()
    assert outcome(text)[0] == 200
    key.refresh_from_db()
    assert key.last_used_at and before <= key.last_used_at <= timezone.now()
    assert key.last_used_address == "127.0.0.1"


def test_the_address_is_seen_through_our_own_proxies_alone(
    team: Team, vision: Vision, settings: Any
) -> None:
    key, text = make_key(team)
    told = {"X-Forwarded-For": "198.51.100.1, 192.0.2.9"}
    outcome(text, headers=told)
    key.refresh_from_db()
    assert key.last_used_address == "127.0.0.1"
    settings.TRUSTED_PROXIES = 1
    outcome(text, headers=told)
    key.refresh_from_db()
    assert key.last_used_address == "192.0.2.9"
    assert [call.address for call in Call.objects.order_by("pk")] == ["127.0.0.1", "192.0.2.9"]


def test_another_address_is_written_at_once(team: Team) -> None:
    key, _ = make_key(team)
    for address in ("192.0.2.9", "127.0.0.1", "192.0.2.9"):
        keys.touch(key, address)
        key.refresh_from_db()
        assert key.last_used_address == address


def test_the_time_of_use_is_written_again_after_a_while(team: Team, vision: Vision) -> None:
    key, text = make_key(team)
    outcome(text)
    long_ago = timezone.now() - timedelta(seconds=keys.TOUCH_SECONDS + 1)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=long_ago)
    outcome(text)
    key.refresh_from_db()
    assert key.last_used_at and key.last_used_at > long_ago


@pytest.mark.processes
def test_a_line_that_is_no_request_is_logged_without_its_key(
    server: Gunicorn, transactional_db: None, team: Team
) -> None:
    import socket
    from urllib.parse import urlsplit

    text = make_key(team)[1]
    address = urlsplit(server.address)
    for name in ("oauth_token", "OAUTH%5Ftoken"):
        with socket.create_connection((address.hostname or "", address.port or 0), 20) as link:
            link.sendall(f"POST /?x=a b&{name}={text} HTTP/1.1\r\n\r\n".encode())
            assert link.recv(100).startswith(b"HTTP/1.1 400")
    assert "token=***" in server.output and text not in server.output


# --- The quota -----------------------------------------------------------------------------------


_bytes = itertools.count()


def several(token: str, count: int, method: str = "recognize") -> tuple[int, Any]:
    """Ask with so many pictures that nobody has asked before."""
    names = [f"file_{number}" for number in range(count)]
    told = people(*names) if method == "set" else pictures(*names)
    files = [file(name, b"picture %d" % next(_bytes)) for name in names]
    return in_process(token)(method, *files, meta(told)).outcome


def test_the_quota_counts_images_and_not_requests(team: Team, vision: Vision) -> None:
    key, text = make_key(team, daily_images=10)
    assert several(text, 7)[0] == 200
    assert several(text, 3, "set")[0] == 200
    assert several(text, 1) == (403, "this oauth_token's 10 images of today are used up")
    assert used(key) == 10


def test_a_request_fits_as_a_whole_or_not_at_all(team: Team, vision: Vision) -> None:
    key, text = make_key(team, daily_images=10)
    assert several(text, 7)[0] == 200
    assert several(text, 4)[0] == 403
    assert used(key) == 7
    assert several(text, 3)[0] == 200
    assert used(key) == 10
    assert several(text, 100)[0] == 403


def test_delete_and_truncate_send_no_image(team: Team, vision: Vision) -> None:
    key, text = make_key(team, daily_images=1)
    assert several(text, 1)[0] == 200
    assert outcome(text, "delete")[0] == 200
    assert outcome(text, "truncate")[0] == 200
    assert used(key) == 1


def test_stray_files_count_for_nothing(team: Team, vision: Vision) -> None:
    key, text = make_key(team, daily_images=1)
    stray = [file(f"stray_{number}", b"x") for number in range(5)]
    assert in_process(text)("recognize", *stray, PICTURE, meta(pictures())).told["status"] == 200
    assert used(key) == 1


def test_what_was_not_sent_after_all_is_given_back(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, text = make_key(team, daily_images=5)
    wire.use(monkeypatch, Vision(VisionUnavailable("The circuit is open")))
    assert several(text, 5) == (500, "The circuit is open")
    assert used(key) == 0


@pytest.mark.usefixtures("reuse")
def test_what_is_answered_from_store_uses_nothing(team: Team, vision: Vision) -> None:
    key, text = make_key(team, daily_images=2)
    for _ in range(3):
        assert outcome(text)[0] == 200
    assert used(key) == 1
    assert len(vision.asked) == 1


def test_what_failed_on_its_way_is_used(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = make_key(team, daily_images=5)
    wire.use(monkeypatch, Vision(VisionTemporary("cloud.example did not answer in time.")))
    assert several(text, 5)[0] == 500
    assert used(key) == 5


def test_each_key_has_a_quota_of_its_own(team: Team, vision: Vision) -> None:
    _, one = make_key(team, daily_images=1)
    _, other = make_key(team, daily_images=1)
    assert several(one, 1)[0] == several(other, 1)[0] == 200
    assert several(one, 1)[0] == several(other, 1)[0] == 403


def test_a_quota_that_is_lowered_below_what_is_used_lets_nothing_pass(
    team: Team, vision: Vision
) -> None:
    key, text = make_key(team, daily_images=10)
    assert several(text, 5)[0] == 200
    ApiKey.objects.filter(pk=key.pk).update(daily_images=4)
    assert several(text, 1)[0] == 403
    assert used(key) == 5


@pytest.mark.parametrize("zone", ["UTC", "Asia/Vladivostok", "America/Los_Angeles"])
def test_the_day_is_over_at_midnight_utc(
    team: Team, vision: Vision, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    from zoneinfo import ZoneInfo

    key, text = make_key(team, daily_images=1)
    now = [datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC).astimezone(ZoneInfo(zone))]
    monkeypatch.setattr("persons.proxy.keys.timezone.now", lambda: now[0])
    assert several(text, 1)[0] == 200
    assert several(text, 1)[0] == 403
    now[0] += timedelta(microseconds=1)
    assert several(text, 1)[0] == 200
    assert several(text, 1)[0] == 403
    days = KeyDay.objects.filter(key=key).order_by("day").values_list("day", "images")
    assert [(str(day), images) for day, images in days] == [("2026-03-31", 1), ("2026-04-01", 1)]


def test_what_is_given_back_after_midnight_goes_to_the_day_it_was_taken_from(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the new day, on which others spent already, would let more pass than it has."""
    key, text = make_key(team, daily_images=4)
    now = [datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)]
    monkeypatch.setattr("persons.proxy.keys.timezone.now", lambda: now[0])
    vision = wire.use(monkeypatch, Vision(VisionUnavailable("The circuit is open")))

    def midnight() -> None:
        now[0] += timedelta(seconds=2)
        KeyDay.objects.create(key=key, day=now[0].date(), images=4)

    fakes.once(vision, midnight)
    assert several(text, 3)[0] == 500
    days = KeyDay.objects.filter(key=key).order_by("day").values_list("images", flat=True)
    assert list(days) == [0, 4]
    assert several(text, 1)[0] == 403


# --- At once -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_many_who_spend_at_once_exactly_so_many_pass(team: Team) -> None:
    """Some take one image, some seven: what passes is never above the quota, nor wasted."""
    key, _ = make_key(team, daily_images=100)
    passed: list[int] = []
    lock = threading.Lock()

    def spend(images: int) -> None:
        try:
            keys.spend(key, images)
        except keys.KeyRefused:
            return
        finally:
            connection.close()
        with lock:
            passed.append(images)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(spend, [1, 7] * 60))
    assert sum(passed) == used(key) == 100


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with Gunicorn(tmp_path_factory.mktemp("keys"), processes=2, threads=8) as server:
        yield server


@pytest.mark.processes
def test_200_parallel_calls_on_a_quota_of_100_let_exactly_100_pass(
    server: Gunicorn, transactional_db: None, team: Team
) -> None:
    key, text = make_key(team, daily_images=100)
    start = threading.Barrier(200)

    def call(number: int) -> int:
        ask = wire.over_http(server.address, text, timeout=PATIENCE)
        body = (file("file", b"no picture %d" % number), meta(pictures()))
        start.wait(timeout=PATIENCE)
        status, said = ask("recognize", *body).outcome
        if status == 403:
            assert said == "this oauth_token's 100 images of today are used up"
        return status

    with ThreadPoolExecutor(200) as pool:
        got = list(pool.map(call, range(200)))
    assert (got.count(200), got.count(403)) == (100, 100)
    assert used(key) == 100
    # Each one that passed was really asked, and nobody else.
    assert Call.objects.filter(key=key).count() == 100
