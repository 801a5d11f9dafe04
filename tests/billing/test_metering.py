"""The meter counts exactly the images that were sent to Vision, and a budget is never exceeded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Sum

from persons import pipeline
from persons.billing import metering
from persons.billing.metering import this_month
from persons.billing.tariff import parse
from persons.calls.statements import end_call
from persons.models import ApiKey, Call, Gallery, Meter, MonthTotal, Photo, PhotoState, Team
from persons.models.calls import Outcome
from persons.vision.errors import VisionTemporary, VisionUnavailable
from tests.support import factories, fakes, wire
from tests.support.fakes import waiting_photo
from tests.support.wire import Ask, Vision, file, meta, people, pictures

LADDER = parse("10:1, 20:0.5, 0.25")


@pytest.fixture(autouse=True)
def _ladder(settings: Any) -> None:
    settings.TARIFF = LADDER


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Vision:
    return wire.use(monkeypatch, Vision())


@pytest.fixture
def made(team: Team) -> tuple[ApiKey, str]:
    return wire.make_key(team)


@pytest.fixture
def ask(made: tuple[ApiKey, str]) -> Ask:
    return wire.in_process(made[1])


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return factories.GalleryFactory.create(team=team)


def many(count: int, start: int = 0) -> tuple[bytes, ...]:
    names = [f"file_{start + number}" for number in range(count)]
    return (*(file(name, name.encode()) for name in names), meta(pictures(*names)))


def add(team: Team, key: ApiKey | None, images: int, *, backend: str) -> Decimal:
    """What a call of so many images costs, counted."""
    call = Call.objects.create(team=team, key=key, image_count=images, backend=backend)
    month, tariff = this_month(), metering.tariff_for(backend)
    end_call(call, ["cost"], {}, month=month, tariff=tariff)
    return call.cost


def meter(team: Team, key: ApiKey | None = None) -> tuple[int, int, Any]:
    """Calls, images and cost of this month."""
    row = Meter.objects.get(team=team, key=key, month=this_month())
    return row.calls, row.images, row.cost


def sent_to(vision: Vision) -> int:
    """What the upstream server itself would count."""
    return sum(len(asked.images) for asked in vision.asked)


# --- What is counted -----------------------------------------------------------------------------


def test_images_are_counted_and_priced_across_an_edge(
    ask: Ask, vision: Vision, team: Team, made: tuple[ApiKey, str]
) -> None:
    ask("recognize", *many(8))
    assert meter(team, made[0]) == (1, 8, 8)
    ask("recognize", *many(5, start=100))
    # Two at 1, three at 0.5.
    assert meter(team, made[0]) == (2, 13, Decimal("11.5"))
    assert [call.cost for call in Call.objects.order_by("pk")] == [8, Decimal("3.5")]
    assert sent_to(vision) == MonthTotal.objects.get().images == 13


def test_a_set_costs_and_delete_and_truncate_do_not(
    ask: Ask, vision: Vision, team: Team, made: tuple[ApiKey, str]
) -> None:
    ask("set", file("file", b"x"), meta(people()))
    ask("delete", file("file", b"x"), meta(people()))
    ask("truncate", file("file", b"x"), meta({"space": "5"}))
    assert meter(team, made[0]) == (3, 1, 1)


def test_each_key_has_its_meter_and_the_ladder_is_the_accounts(
    vision: Vision, team: Team, charlie: Any
) -> None:
    """Two teams of one installation climb the same ladder."""
    one, one_text = wire.make_key(team)
    other, other_text = wire.make_key(charlie.teams.get())
    wire.in_process(one_text)("recognize", *many(10))
    wire.in_process(other_text)("recognize", *many(10))
    assert meter(team, one) == (1, 10, 10)
    assert meter(charlie.teams.get(), other) == (1, 10, 5)


def test_what_the_workers_send_is_the_teams_own(
    vision: Vision, team: Team, gallery: Gallery
) -> None:
    for _ in range(3):
        waiting_photo(gallery)
    pipeline.recognise_batch(gallery.space_id)
    waiting_photo(gallery)
    pipeline.recognise_batch(gallery.space_id)
    assert meter(team) == (2, 4, 4)
    assert sent_to(vision) == 4


def test_what_vision_rejects_was_sent(
    ask: Ask, vision: Vision, team: Team, made: tuple[ApiKey, str]
) -> None:
    vision.script.append(b'{"status":400,"body":"bad","htmlencoded":false,"last_modified":0}')
    ask("recognize", *many(3))
    assert meter(team, made[0]) == (1, 3, 3)


def test_what_was_not_sent_is_not_counted(
    ask: Ask, vision: Vision, team: Team, made: tuple[ApiKey, str]
) -> None:
    vision.script.append(VisionUnavailable("not asked for a while"))
    assert ask("recognize", *many(3)).told["status"] == 500
    ask("recognize", meta(pictures()))
    ask("recognize", file("file", b""), meta(pictures()))
    assert not Meter.objects.filter(images__gt=0).exists()
    assert not MonthTotal.objects.filter(images__gt=0).exists()
    assert Call.objects.get().cost == 0


def test_retries_count_as_sent(vision: Vision, team: Team, gallery: Gallery) -> None:
    """A photo that fails for a while is sent again, and paid again."""
    photo = waiting_photo(gallery)
    vision.script.extend([VisionTemporary("late"), VisionTemporary("late")])
    for _ in range(3):
        fakes.due_now()
        pipeline.recognise_batch(gallery.space_id)
    assert Photo.objects.get(pk=photo.pk).state == PhotoState.DONE
    assert sent_to(vision) == 3
    assert meter(team) == (3, 3, 3)
    assert MonthTotal.objects.get().images == 3


def test_a_batch_that_is_halved_is_counted_as_often_as_it_was_sent(
    vision: Vision, team: Team, gallery: Gallery
) -> None:
    """One bad picture refuses the request: it is asked again in halves."""
    for _ in range(4):
        waiting_photo(gallery)
    vision.script.append(b'{"status":400,"body":"bad","htmlencoded":false,"last_modified":0}')
    pipeline.recognise_batch(gallery.space_id)
    assert sent_to(vision) == 8
    assert meter(team) == (3, 8, 8)


def test_the_embedded_recogniser_costs_nothing_and_does_not_climb(
    ask: Ask, team: Team, made: tuple[ApiKey, str]
) -> None:
    ask("recognize", *many(5))
    assert meter(team, made[0]) == (1, 5, 0)
    assert not MonthTotal.objects.exists()


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), date(2026, 3, 1)),
        (datetime(2026, 4, 1, 0, 0, 0, tzinfo=UTC), date(2026, 4, 1)),
        (datetime.fromisoformat("2026-04-01T02:59:59+03:00"), date(2026, 3, 1)),
        (datetime.fromisoformat("2026-03-31T17:00:00-07:00"), date(2026, 4, 1)),
    ],
)
def test_a_month_is_over_at_midnight_utc(moment: datetime, month: date) -> None:
    assert this_month(moment) == month


def test_the_ladder_starts_anew_each_month(
    team: Team, monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    now = [datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)]
    monkeypatch.setattr("persons.billing.metering.timezone.now", lambda: now[0])
    assert add(team, None, 20, backend="cloud") == 15
    now[0] = datetime(2026, 4, 1, tzinfo=UTC)
    assert metering.estimate(3) == 3
    assert add(team, None, 3, backend="cloud") == 3
    months = Meter.objects.order_by("month").values_list("month", "images")
    assert list(months) == [(date(2026, 3, 1), 20), (date(2026, 4, 1), 3)]


def test_an_estimate_is_what_it_will_cost_and_counts_nothing(db: None, team: Team) -> None:
    assert metering.estimate(12) == 11
    assert add(team, None, 12, backend="cloud") == 11
    estimated = metering.estimate(30)
    assert add(team, None, 30, backend="cloud") == estimated
    assert MonthTotal.objects.get().images == 42


# --- At once -------------------------------------------------------------------------------------


def at_once(work: list[Callable[[], Any]], threads: int = 12) -> list[Any]:
    def one(function: Callable[[], Any]) -> Any:
        try:
            return function()
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, work))


@pytest.mark.django_db(transaction=True)
def test_the_meter_is_exact_when_many_calls_end_at_once(
    team: Team, made: tuple[ApiKey, str]
) -> None:
    """Across both edges, by three payers: each image has its price, and none is priced twice."""
    other = wire.make_key(team)[0]
    payers = [None, made[0], other]
    sizes = [1, 3, 7]

    def adding(number: int) -> Callable[[], Decimal]:
        def work() -> Decimal:
            with transaction.atomic():
                return add(team, payers[number % 3], sizes[number // 3 % 3], backend="cloud")

        return work

    costs = at_once([adding(number) for number in range(45)])
    images = sum(sizes[number // 3 % 3] for number in range(45))
    assert MonthTotal.objects.get().images == images
    assert sum(costs) == LADDER.cost(0, images)
    assert Meter.objects.count() == 3
    found = Meter.objects.aggregate(calls=Sum("calls"), images=Sum("images"), cost=Sum("cost"))
    assert found == {"calls": 45, "images": images, "cost": LADDER.cost(0, images)}


@pytest.mark.django_db(transaction=True)
def test_parallel_calls_through_the_proxy_are_metered_as_the_upstream_counts_them(
    team: Team, vision: Vision, made: tuple[ApiKey, str], live: str
) -> None:
    """Through a real server, across an edge, some of them failing on the way."""
    for _ in range(4):
        vision.script.append(VisionTemporary("late"))
    vision.script.append(VisionUnavailable("not asked"))
    ask = wire.over_http(live, made[1])

    def call(number: int) -> Callable[[], int]:
        return lambda: int(ask("recognize", *many(3, start=number * 10)).told["status"])

    got = at_once([call(number) for number in range(12)], threads=6)
    assert sorted(got) == [200] * 7 + [500] * 5
    # The fake counts the refused one too, though nothing of it was sent.
    images = sent_to(vision) - 3
    assert images == 33
    assert meter(team, made[0]) == (11, images, LADDER.cost(0, images))
    assert MonthTotal.objects.get().images == images
    assert Call.objects.aggregate(cost=Sum("cost"))["cost"] == LADDER.cost(0, images)


# --- The budget ----------------------------------------------------------------------------------


def budget(team: Team, amount: str | None) -> None:
    Team.objects.filter(pk=team.pk).update(monthly_budget=amount and Decimal(amount))
    team.refresh_from_db()


def test_a_budget_stops_what_would_be_sent(
    ask: Ask, vision: Vision, team: Team, made: tuple[ApiKey, str]
) -> None:
    budget(team, "5")
    assert ask("recognize", *many(5)).told["status"] == 200
    got = ask("recognize", *many(1, start=100))
    assert got.outcome == (500, "The team's budget for this month is used up")
    assert got.told["status"] == 500
    assert sent_to(vision) == 5
    assert meter(team, made[0]) == (1, 5, 5)
    stopped = Call.objects.latest("pk")
    assert stopped.outcome == Outcome.UNAVAILABLE and stopped.cost == 0


def test_a_budget_stops_the_workers_too_and_their_photos_wait(
    vision: Vision, team: Team, gallery: Gallery
) -> None:
    budget(team, "1")
    photo = waiting_photo(gallery)
    pipeline.recognise_batch(gallery.space_id)
    later = waiting_photo(gallery)
    for _ in range(20):
        fakes.due_now()
        pipeline.recognise_batch(gallery.space_id)
    assert Photo.objects.get(pk=photo.pk).state == PhotoState.DONE
    assert Photo.objects.get(pk=later.pk).state == PhotoState.QUEUED
    assert sent_to(vision) == 1
    budget(team, "2")
    fakes.due_now()
    pipeline.recognise_batch(gallery.space_id)
    assert Photo.objects.get(pk=later.pk).state == PhotoState.DONE


def test_a_budget_does_not_stop_a_clients_key_quota_from_being_given_back(
    vision: Vision, team: Team
) -> None:
    budget(team, "0")
    key, text = wire.make_key(team, daily_images=5)
    for _ in range(3):
        assert wire.in_process(text)("recognize", *many(5)).told["status"] == 500
    assert key.days.get().images == 0


def test_a_budget_is_one_teams_and_one_months(
    vision: Vision, team: Team, charlie: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget(team, "1")
    add(team, None, 1, backend="cloud")
    assert metering.over_budget(team, backend="cloud")
    assert not metering.over_budget(charlie.teams.get(), backend="cloud")
    later = datetime(2090, 1, 1, tzinfo=UTC)
    monkeypatch.setattr("persons.billing.metering.timezone.now", lambda: later)
    assert not metering.over_budget(team, backend="cloud")


def test_without_a_budget_or_without_a_bill_nothing_stops(team: Team, db: None) -> None:
    add(team, None, 1000, backend="cloud")
    assert not metering.over_budget(team, backend="cloud")
    budget(team, "1")
    assert metering.over_budget(team, backend="cloud")
    assert not metering.over_budget(team, backend="embedded")


@pytest.mark.usefixtures("reuse")
def test_what_is_answered_from_store_needs_no_budget(ask: Ask, vision: Vision, team: Team) -> None:
    budget(team, "1")
    body = many(1)
    assert ask("recognize", *body).told["status"] == 200
    assert ask("recognize", *many(1, start=5)).told["status"] == 500
    assert ask("recognize", *body).told["status"] == 200


def test_deleting_costs_nothing_and_needs_no_budget(ask: Ask, vision: Vision, team: Team) -> None:
    """Who may not spend any more may still make Vision forget somebody."""
    budget(team, "0")
    assert ask("delete", meta(people())).told["status"] == 200
    assert ask("truncate", meta({"space": "5"})).told["status"] == 200
