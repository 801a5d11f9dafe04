"""All processes share the cloud's token, circuit breaker and rate limit through the database."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from persons import pipeline, tasks
from persons.backends import cloud
from persons.backends.circuits import DatabaseBreaker
from persons.backends.cloud import DatabaseBucket, DatabaseVault
from persons.models import CloudBucket, CloudCircuit, CloudToken, Gallery, Photo, PhotoState, User
from persons.vision.errors import VisionUnavailable
from persons.vision.guards import (
    Admission,
    BreakerState,
    BucketState,
    Circuit,
    CircuitBreaker,
    CircuitOpen,
    MemoryBreakerState,
    MemoryBucketState,
    Phase,
)
from persons.vision.oauth import ClientCredentials
from persons.vision.tokens import Grant, MemoryVault, Problem, Secret, Stored, TokenVault
from persons.vision.transport import Http, host_of
from persons.vision.types import Method
from persons.work import Work
from tests.support.factories import GalleryFactory
from tests.support.fakes import answer as objects
from tests.support.fakes import at_once, due_now, found, seen, waiting_photo, wire_name
from tests.support.misbehaving import Behaviour, Misbehaving, answer, envelope, refusing_address
from tests.support.processes import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

TOKEN = "service-token-of-the-tests"
ACCESS, REFRESH = "access-9f31c07a52", "refresh-1b7e6620d4"
REFUSED = envelope("the token is not known", 403)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    cloud.cloud.cache_clear()
    yield
    cloud.cloud.cache_clear()


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team)


def use(settings: Settings, url: str) -> cloud.Cloud:
    settings.VISION_URL, settings.VISION_TOKEN = url, Secret(TOKEN)
    cloud.cloud.cache_clear()
    return cloud.cloud()


def grant(seconds: float, access: str = ACCESS) -> Grant:
    now = time.time()
    return Grant(Secret(access), Secret(REFRESH), now + seconds - 3600, now + seconds)


# --- The vault -----------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "database"])
def vaults(request: pytest.FixtureRequest) -> list[TokenVault]:
    """The same vault as two processes have it."""
    if request.param == "database":
        return [DatabaseVault("account"), DatabaseVault("account")]
    return [MemoryVault()] * 2


def test_a_vault_is_empty_at_first_and_then_holds_what_was_stored(
    vaults: list[TokenVault],
) -> None:
    one, other = vaults
    assert one.read() == other.read() == Stored()
    kept = Stored(grant(3600), Problem("slow", False, 5.0))
    assert one.claim("one", 60)
    assert other.read() == Stored()
    assert one.store("one", kept)
    assert one.read() == other.read() == kept
    assert other.claim("other", 60)
    assert other.store("other", Stored(Grant(Secret("new"), None, 1.5, 2.5)))
    assert one.read() == Stored(Grant(Secret("new"), None, 1.5, 2.5))


def test_a_claim_is_one_claimants_until_its_lease_is_over(vaults: list[TokenVault]) -> None:
    one, other = vaults
    assert one.claim("one", 1.5)
    assert not other.claim("other", 60)
    assert not one.claim("one", 60)
    wait_until(lambda: other.claim("other", 60), what="the lease to end")
    assert not one.claim("one", 60)


def test_who_has_lost_a_claim_settles_and_releases_nothing(vaults: list[TokenVault]) -> None:
    one, other = vaults
    assert one.claim("one", 0.0)
    assert other.claim("other", 60)
    assert not one.store("one", Stored(grant(60)))
    assert one.read() == Stored()
    one.release("one")
    assert not one.claim("one", 60)
    other.release("other")
    assert one.claim("one", 60)


def test_settling_and_giving_up_the_claim_are_one_write(
    django_assert_num_queries: Any,
) -> None:
    vault = DatabaseVault("account")
    assert vault.claim("one", 60)
    with django_assert_num_queries(1):
        assert vault.store("one", Stored(grant(60)))
    row = CloudToken.objects.get()
    assert (row.claimant, row.claimed_until) == ("", 0.0)
    assert row.sealed and row.settled_at is not None
    assert not vault.store("one", Stored())
    assert vault.read().grant is not None


def test_of_many_claims_at_once_one_is_granted() -> None:
    names = [f"worker {number}" for number in range(20)]
    got = at_once(*(lambda name=name: DatabaseVault("account").claim(name, 60) for name in names))
    assert sorted(map(str, got)) == ["False"] * 19 + ["True"]
    assert CloudToken.objects.get().claimant == names[got.index(True)]


def test_accounts_do_not_see_each_other() -> None:
    one, other = DatabaseVault("one"), DatabaseVault("other")
    assert one.claim("me", 60)
    assert other.claim("me", 60)
    assert one.store("me", Stored(grant(60)))
    assert other.read() == Stored()


def test_the_row_holds_no_token_and_opens_under_no_other_key(settings: Settings) -> None:
    settings.ENCRYPTION_KEY = Secret("the key of this installation")
    vault = DatabaseVault("account")
    assert vault.claim("me", 60)
    assert vault.store("me", Stored(grant(3600), Problem("a reason", True, 1.0)))
    row = repr(CloudToken.objects.values().get())
    for text in (ACCESS, REFRESH, "a reason", "access", "refresh"):
        assert text not in row
    assert vault.read().grant is not None

    settings.ENCRYPTION_KEY = Secret("another key")
    assert vault.read() == Stored()
    settings.ENCRYPTION_KEY = Secret("")
    assert vault.read() == Stored()
    settings.ENCRYPTION_KEY = Secret("the key of this installation")
    assert vault.read().grant is not None

    CloudToken.objects.update(sealed=b"gAAAA no token of ours")
    assert vault.read() == Stored()


# --- One renewal for all -------------------------------------------------------------------------


def slowly_granted(access: str = "the-new-access-token") -> Behaviour:
    """A new token, after time enough for everybody to come."""
    body = {"access_token": access, "refresh_token": "the-new-refresh-token", "expires_in": 3600}
    told = answer(json.dumps(body).encode())

    def run(server: Misbehaving, connection: Any) -> None:
        time.sleep(0.5)
        told(server, connection)

    return run


def process(url: str) -> ClientCredentials:
    """Token source, vault and connection of a process of its own."""
    secret = Secret("the client's secret")
    return ClientCredentials("client", secret, url, DatabaseVault("account"), Http())


@pytest.mark.parametrize("lifetime_left", [-1.0, 200.0, None])
def test_50_workers_at_the_moment_of_expiry_make_one_request(lifetime_left: float | None) -> None:
    """Expired, about to expire, and never fetched."""
    vault = DatabaseVault("account")
    if lifetime_left is not None:
        assert vault.claim("before", 60)
        assert vault.store("before", Stored(grant(lifetime_left)))
    with Misbehaving(slowly_granted()) as server:
        workers = [process(server.url) for _ in range(50)]
        got = at_once(*(worker.token for worker in workers))
        assert len(server.received) == 1
        later = [worker.token() for worker in workers]
        assert len(server.received) == 1
    new = Secret("the-new-access-token")
    # Who comes while the old one still lasts goes on with it, and waits for nobody.
    fine = {new, Secret(ACCESS)} if lifetime_left == 200.0 else {new}
    assert set(got) <= fine
    assert new in got
    assert set(later) == {new}
    assert vault.read().grant == DatabaseVault("account").read().grant


def test_50_workers_in_ten_processes_make_one_request() -> None:
    """As gunicorn's and Celery's processes: nothing is shared but the database."""
    vault = DatabaseVault("account")
    assert vault.claim("before", 60)
    assert vault.store("before", Stored(grant(-1.0)))
    with Misbehaving(slowly_granted()) as server:
        url = server.url

        def five_workers() -> None:
            got = at_once(*(process(url).token for _ in range(5)))
            if set(got) != {Secret("the-new-access-token")}:
                raise SystemExit(1)

        assert forked(*[five_workers] * 10) == [0] * 10
        assert len(server.received) == 1
    assert vault.read().grant is not None


def forked(*work: Callable[[], object]) -> list[int]:
    """How a process for each of these ended; all run at once."""
    connections.close_all()
    pids = []
    for function in work:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                function()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_50_workers_that_were_refused_at_once_renew_once() -> None:
    vault = DatabaseVault("account")
    assert vault.claim("before", 60)
    assert vault.store("before", Stored(grant(3000)))
    with Misbehaving(slowly_granted()) as server:
        workers = [process(server.url) for _ in range(50)]
        got = at_once(*(lambda w=worker: w.renew(Secret(ACCESS)) for worker in workers))
        assert len(server.received) == 1
    assert set(got) == {Secret("the-new-access-token")}


# --- The circuit ---------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "database"])
def states(request: pytest.FixtureRequest) -> list[BreakerState]:
    if request.param == "database":
        return [DatabaseBreaker("vision"), DatabaseBreaker("vision")]
    return [MemoryBreakerState()] * 2


def test_a_circuit_is_swapped_by_its_revision(states: list[BreakerState]) -> None:
    one, other = states
    assert one.read() == other.read() == Circuit()
    first = Circuit(failures=1, revision=1)
    assert one.swap(Circuit(), first)
    assert other.read() == first
    assert not other.swap(Circuit(), Circuit(failures=9, revision=1))
    assert one.read() == first
    whole = Circuit(Phase.HALF_OPEN, 7, 3, 1234.5, 4, 2)
    assert other.swap(first, whole)
    assert one.read() == whole


def test_of_many_swaps_from_one_revision_one_succeeds() -> None:
    news = [Circuit(failures=number, revision=1) for number in range(1, 21)]
    got = at_once(*(lambda c=c: DatabaseBreaker("vision").swap(Circuit(), c) for c in news))
    assert sorted(map(str, got)) == ["False"] * 19 + ["True"]
    assert DatabaseBreaker("vision").read() == news[got.index(True)]


def test_upstreams_have_circuits_of_their_own() -> None:
    assert DatabaseBreaker("one").swap(Circuit(), Circuit(failures=1, revision=1))
    assert DatabaseBreaker("other").read() == Circuit()


def test_one_of_20_workers_probes() -> None:
    opened = Circuit(Phase.OPEN, 5, 1, time.time() - 1, 1, 5)
    assert DatabaseBreaker("vision").swap(Circuit(), opened)
    breakers = [CircuitBreaker("vision", DatabaseBreaker("vision")) for _ in range(20)]
    got = at_once(*(breaker.admit for breaker in breakers))
    probes = [outcome for outcome in got if isinstance(outcome, Admission)]
    assert len(probes) == 1
    assert sum(isinstance(outcome, CircuitOpen) for outcome in got) == 19
    breakers[got.index(probes[0])].succeeded(probes[0])
    assert DatabaseBreaker("vision").read().phase is Phase.CLOSED
    assert isinstance(breakers[0].admit(), Admission)


def test_no_failure_of_20_at_once_is_lost() -> None:
    breakers = [
        CircuitBreaker("vision", DatabaseBreaker("vision"), threshold=20) for _ in range(20)
    ]
    admissions = [breaker.admit() for breaker in breakers]
    at_once(*(lambda b=b, a=a: b.failed(a) for b, a in zip(breakers, admissions, strict=True)))
    assert DatabaseBreaker("vision").read().failures == 20
    assert DatabaseBreaker("vision").read().phase is Phase.OPEN


# --- The bucket ----------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "database"])
def buckets(request: pytest.FixtureRequest) -> list[BucketState]:
    if request.param == "database":
        return [DatabaseBucket("images"), DatabaseBucket("images")]
    return [MemoryBucketState()] * 2


def test_a_bucket_counts_as_the_protocol_says(buckets: list[BucketState]) -> None:
    one, other = buckets
    now = 1000.0
    # A window of two seconds is full at first.
    assert one.take(now, 1.5, 2.0, 0.0) == 0.0
    assert other.take(now, 0.5, 2.0, 0.0) == 0.0
    # Empty: a wait within the patience reserves, one above it takes nothing.
    assert one.take(now, 0.5, 2.0, 1.0) == 0.5
    assert other.take(now, 1.0, 2.0, 1.0) == 1.5
    assert one.take(now, 0.5, 2.0, 1.0) == 1.0
    # What was given back is there for the next one, in whichever process.
    other.give_back(0.5)
    assert one.take(now, 0.25, 2.0, 1.0) == 0.75
    # Time fills it, to the window and no further.
    assert other.take(now + 100, 2.0, 2.0, 0.0) == 0.0
    assert one.take(now + 100, 0.1, 2.0, 0.0) == pytest.approx(0.1)


def test_what_was_taken_stays_taken_for_other_instances() -> None:
    DatabaseBucket("images").take(1000.0, 2.0, 2.0, 0.0)
    assert CloudBucket.objects.get().empty_at == 1000.0
    assert DatabaseBucket("images").take(1000.0, 1.0, 2.0, 0.0) == 1.0
    assert DatabaseBucket("requests").take(1000.0, 1.0, 2.0, 0.0) == 0.0


def test_20_at_once_take_no_more_than_there_is() -> None:
    got = at_once(*[lambda: DatabaseBucket("images").take(1000.0, 1.0, 5.0, 0.0)] * 20)
    assert got.count(0.0) == 5
    assert all(isinstance(wait, float) for wait in got)
    assert CloudBucket.objects.get().empty_at == 1000.0


# --- A final refusal -----------------------------------------------------------------------------


META = {"space": "0", "images": [], "update_embedding": False}


def pause_is_over() -> None:
    CloudCircuit.objects.update(until=time.time() - 1)


def test_after_a_final_refusal_nothing_is_sent_until_its_pause_is_over(
    settings: Settings,
) -> None:
    with Misbehaving(REFUSED, envelope({"objects": []})) as server:
        vision = use(settings, server.url)
        assert json.loads(vision.call(Method.RECOGNIZE, META, []).raw)["status"] == 403
        for _ in range(3):
            with pytest.raises(VisionUnavailable, match="trust in our credentials") as caught:
                vision.call(Method.RECOGNIZE, META, [])
            assert 295 < caught.value.pause <= 300
        # As another process sees it.
        with pytest.raises(VisionUnavailable):
            use(settings, server.url).call(Method.RECOGNIZE, META, [])
        assert len(server.received) == 1
        assert cloud.credentials().phase is Phase.OPEN
        assert cloud.circuit().phase is Phase.CLOSED

        pause_is_over()
        assert json.loads(vision.call(Method.RECOGNIZE, META, []).raw)["status"] == 200
        assert cloud.credentials().phase is Phase.CLOSED
        vision.call(Method.RECOGNIZE, META, [])
        assert len(server.received) == 3


def test_a_probe_that_is_refused_too_pauses_again_and_no_longer(settings: Settings) -> None:
    with Misbehaving(REFUSED) as server:
        vision = use(settings, server.url)
        for probes in range(1, 4):
            vision.call(Method.RECOGNIZE, META, [])
            assert len(server.received) == probes
            assert 295 < cloud.credentials().until - time.time() <= 300
            pause_is_over()


def test_a_refusal_that_is_no_envelope_stops_as_well(settings: Settings) -> None:
    with Misbehaving(answer(b"<h1>Forbidden</h1>", 403)) as server:
        vision = use(settings, server.url)
        with pytest.raises(Exception, match="refused the token"):
            vision.call(Method.RECOGNIZE, META, [])
        with pytest.raises(VisionUnavailable):
            vision.call(Method.RECOGNIZE, META, [])
        assert len(server.received) == 1


def test_client_credentials_renew_once_and_then_stop(settings: Settings) -> None:
    told = [
        answer(json.dumps({"access_token": f"access-token-{n}", "expires_in": 3600}).encode())
        for n in range(3)
    ]
    with Misbehaving(REFUSED) as server, Misbehaving(*told) as oauth:
        settings.VISION_CLIENT_ID, settings.VISION_CLIENT_SECRET = "client", Secret("secret")
        settings.VISION_OAUTH_URL = oauth.url
        vault = DatabaseVault(cloud.account())
        assert vault.claim("before", 60)
        assert vault.store("before", Stored(grant(1800, "an-old-access-token")))
        vision = use(settings, server.url)
        vision.call(Method.RECOGNIZE, META, [])
        with pytest.raises(VisionUnavailable):
            vision.call(Method.RECOGNIZE, META, [])
        sent = [request.query["oauth_token"] for request in server.received]
        assert sent == ["an-old-access-token", "access-token-0"]
        assert len(oauth.received) == 1


# --- Photos wait for it --------------------------------------------------------------------------


def states_of(gallery: Gallery) -> set[tuple[str, int, str]]:
    return set(gallery.photos.values_list("state", "attempts", "claim"))


def waits(gallery: Gallery) -> list[float]:
    """Seconds until each photo is tried again."""
    return [
        (after - timezone.now()).total_seconds()
        for after in gallery.photos.values_list("after", flat=True)
    ]


def test_photos_wait_for_the_pause_and_it_is_no_attempt(
    settings: Settings, gallery: Gallery
) -> None:
    photos = [waiting_photo(gallery) for _ in range(3)]
    with Misbehaving(REFUSED, objects_of(*photos)) as server:
        use(settings, server.url)
        assert pipeline.recognise_batch(gallery.space_id) is False
        assert states_of(gallery) == {(PhotoState.QUEUED, 0, "")}
        assert all(295 < wait < 303 for wait in waits(gallery))
        # Again and again, and it never becomes a failure.
        for _ in range(settings.MAX_ATTEMPTS + 2):
            due_now()
            assert pipeline.recognise_batch(gallery.space_id) is False
        assert states_of(gallery) == {(PhotoState.QUEUED, 0, "")}
        assert all(290 < wait < 303 for wait in waits(gallery))
        assert len(server.received) == 1

        pause_is_over()
        due_now()
        assert pipeline.recognise_batch(gallery.space_id) is True
    assert states_of(gallery) == {(PhotoState.DONE, 0, "")}
    assert set(gallery.photos.values_list("error", flat=True)) == {""}


def objects_of(*photos: Photo) -> Behaviour:
    return answer(objects(*(seen(wire_name(photo), found(None)) for photo in photos)))


@pytest.mark.usefixtures("eager")
def test_the_chain_of_tasks_stops_where_vision_can_not_be_asked(
    settings: Settings, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud.Cloud, "max_batch", 1)
    photos = [waiting_photo(gallery) for _ in range(4)]
    with Misbehaving(REFUSED, *(objects_of(photo) for photo in photos)) as server:
        use(settings, server.url)
        tasks.send(Work.RECOGNISE)
        assert len(server.received) == 1
        assert states_of(gallery) == {(PhotoState.QUEUED, 0, "")}
        # The next turn meets the open circuit: one photo learns it, the others wait.
        tasks.send(Work.RECOGNISE)
        assert len(server.received) == 1
        late = Photo.objects.filter(after__gt=timezone.now() + timedelta(seconds=200))
        assert late.count() == 2

        pause_is_over()
        due_now()
        tasks.send(Work.RECOGNISE)
        assert len(server.received) == 5
    assert states_of(gallery) == {(PhotoState.DONE, 0, "")}


def test_a_rate_that_is_used_up_makes_photos_wait_for_just_so_long(
    settings: Settings, gallery: Gallery
) -> None:
    photos = [waiting_photo(gallery) for _ in range(2)]
    settings.VISION_REQUESTS_PER_SECOND = 0.05
    with Misbehaving(objects_of(*photos)) as server:
        use(settings, server.url).call(Method.RECOGNIZE, META, [])
        assert pipeline.recognise_batch(gallery.space_id) is False
        assert len(server.received) == 1
    assert states_of(gallery) == {(PhotoState.QUEUED, 0, "")}
    assert all(17 < wait < 23 for wait in waits(gallery))


def test_queued_photos_go_once_the_circuit_has_closed(settings: Settings, gallery: Gallery) -> None:
    photos = [waiting_photo(gallery) for _ in range(2)]
    use(settings, refusing_address())
    for attempt in range(1, 6):
        assert pipeline.recognise_batch(gallery.space_id) is True
        assert states_of(gallery) == {(PhotoState.QUEUED, attempt, "")}
        due_now()
    assert cloud.circuit().phase is Phase.OPEN
    assert pipeline.recognise_batch(gallery.space_id) is False
    assert states_of(gallery) == {(PhotoState.QUEUED, 5, "")}
    assert all(2 < wait < 8 for wait in waits(gallery))

    host = host_of(settings.VISION_URL)
    with Misbehaving(objects_of(*photos)) as server:
        # The same circuit, of a server that has come back.
        use(settings, server.url)
        CloudCircuit.objects.filter(upstream=host).update(upstream=server.host)
        due_now()
        assert pipeline.recognise_batch(gallery.space_id) is False
        assert server.received == []
        pause_is_over()
        due_now()
        assert pipeline.recognise_batch(gallery.space_id) is True
        assert cloud.circuit() == Circuit(generation=3, revision=cloud.circuit().revision)
    assert states_of(gallery) == {(PhotoState.DONE, 0, "")}
