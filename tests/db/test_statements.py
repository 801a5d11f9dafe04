"""Hand-written statements do what the ORM would do, on both databases."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from persons.backends import cloud
from persons.billing import metering
from persons.billing.statements import meter, raise_total
from persons.billing.tariff import parse
from persons.calls import log as call_log
from persons.calls.statements import CALLS, RECOGNITIONS, end_call
from persons.db.tables import Statement, Table, run
from persons.models import ApiKey, Call, Meter, MonthTotal, Recognition, Space, Team
from persons.models.calls import Outcome
from persons.people.statements import known_people
from persons.proxy.statements import KEYS, SPACES, TEAMS, key_by_hash, space_of, spend
from persons.vision.tokens import Secret
from persons.vision.types import Answer, Image, ImageResult, ImageStatus, Method
from tests.support import factories, fakes, wire
from tests.support.misbehaving import Misbehaving
from tests.support.misbehaving import answer as answering
from tests.support.wire import Ask, Vision, file, meta, pictures

ODD = "a'b\"c%s\\ \N{SNOWMAN} ?"


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=5)


def columns(row: models.Model) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def begun(space: Space, count: int, **more: Any) -> Call:
    """A call of so many images, as the proxy begins one."""
    space.team = Team.objects.get(pk=space.team_id)
    space.version = 7
    return call_log.begin(
        space=space,
        vision=Vision(),
        method=Method.RECOGNIZE,
        meta={"odd": [ODD, None, 1.5, {"x": True}]},
        images=[call_log.Sent(Image(f"{ODD}{number}", b"%d" % number)) for number in range(count)],
        question="q",
        origin=call_log.Origin(source=more.pop("source", "client"), **more),
    )


def test_a_row_is_loaded_as_the_orm_loads_it(team: Team) -> None:
    key = wire.make_key(
        team,
        methods=["set"],
        spaces=[1, 2],
        daily_images=5,
        expires_at=timezone.now() + timedelta(days=2),
    )[0]
    ApiKey.objects.filter(pk=key.pk).update(last_used_address="2001:db8::1")
    Team.objects.filter(pk=team.pk).update(name=ODD, monthly_budget="12.34", keep_probes=True)
    key = ApiKey.objects.select_related("team").get(pk=key.pk)
    got = key_by_hash(key.key_hash)
    assert got is not None
    assert (columns(got), columns(got.team)) == (columns(key), columns(key.team))
    assert key_by_hash("x") is None
    space = Space.objects.get(team=team, number=3)
    assert columns(space_of(team, 3)) == columns(space)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_call_is_written_as_the_orm_writes_it(space: Space, team: Team, count: int) -> None:
    key = wire.make_key(team)[0]
    call = begun(space, count, key=key)
    assert columns(Call.objects.get(pk=call.pk)) == columns(call)
    found = list(Recognition.objects.filter(call=call).order_by("position"))
    assert [columns(row) for row in found] == [columns(row) for row in call.rows]
    assert [row.position for row in found] == list(range(count))
    # As rows that the ORM made: another save is an update.
    for row in (call, *call.rows):
        row.save()
    assert (Call.objects.count(), Recognition.objects.count()) == (1, count)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_an_end_is_written_to_each_row(space: Space, count: int) -> None:
    call = begun(space, count)
    results = [
        ImageResult(row.name, ImageStatus(row.position % 3), ODD, raw={"n": row.position})
        for row in call.rows
    ]
    call_log.end(call, Answer(ODD.encode()), None, results)
    assert columns(Call.objects.get(pk=call.pk)) == columns(call)
    for row, stored in zip(call.rows, call.recognitions.order_by("position"), strict=True):
        assert columns(stored) == columns(row)
        wanted = (row.position % 3, ODD, {"n": row.position})
        assert (stored.status, stored.error, stored.result) == wanted
    assert (call.outcome, call.status) == (Outcome.DONE if count == 1 else Outcome.PARTIAL, 200)


def test_every_column_of_a_table_is_in_its_statements() -> None:
    for table in (KEYS, TEAMS, SPACES, CALLS, RECOGNITIONS):
        assert table.width == table.columns("x").count(",") + 1 == table.columns("x").count("x.")


def test_a_meter_starts_and_goes_on_in_one_statement(team: Team) -> None:
    key = wire.make_key(team)[0]
    month = metering.this_month()
    for payer in (None, key, None, key):
        run(meter(team, payer, month, calls=1, images=3, cost=Decimal("0.18")))
    rows = Meter.objects.order_by("pk").values_list("key", "calls", "images", "cost")
    assert list(rows) == [(None, 2, 6, Decimal("0.36")), (key.pk, 2, 6, Decimal("0.36"))]
    assert [raise_total(month, 3) for _ in range(3)] == [3, 6, 9]
    assert MonthTotal.objects.get().images == 9


def test_a_days_images_are_taken_while_they_fit(team: Team) -> None:
    key = wire.make_key(team, daily_images=10)[0]
    day = timezone.now().date()
    took = [spend(key, day, images, 10) for images in (11, 4, 6, 1)]
    assert took == [False, True, True, False]
    assert key.days.get().images == 10
    assert spend(key, day + timedelta(days=1), 1, 10)


def test_which_people_are_known(space: Space, team: Team) -> None:
    for number in (1, 5):
        factories.PersonFactory.create(space=space, person_id=number)
    factories.PersonFactory.create(space=team.spaces.get(number=4), person_id=2)
    assert known_people(space, {1, 2, 3, 5}) == {1, 5}
    assert known_people(space, set()) == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "wrong", ["UPDATE persons_call SET x = 1", "INSERT INTO persons_team (id) VALUES (1)"]
)
def test_a_call_that_can_not_be_ended_counts_nothing(team: Team, wrong: str) -> None:
    call = Call.objects.create(team=team, image_count=3, backend="cloud")
    month = metering.this_month()

    def end(**more: Statement) -> None:
        end_call(call, ["cost"], more, month=month, tariff=parse("2:1, 0.5"))

    with pytest.raises(DatabaseError):
        end(wrong=(wrong, []))
    assert not MonthTotal.objects.exists() and not Meter.objects.exists()
    end()
    assert (MonthTotal.objects.get().images, Meter.objects.get().calls) == (3, 1)
    call.refresh_from_db()
    assert call.cost == Meter.objects.get().cost == Decimal("2.5")


@pytest.mark.django_db
@pytest.mark.parametrize("ladder", ["0", "0.06", "10:1, 0.5", "3:0.0613, 4:7, 100:0.0001, 0.03"])
def test_a_call_costs_what_the_ladder_says_at_each_of_its_steps(team: Team, ladder: str) -> None:
    tariff, before = parse(ladder), 0
    for images in (1, 2, 1, 5, 0, 1, 90, 1, 1, 7):
        call = Call.objects.create(team=team, image_count=images, backend="cloud")
        month = metering.this_month()
        end_call(call, ["cost"], {}, month=month, tariff=tariff)
        assert call.cost == tariff.cost(before, images)
        call.refresh_from_db()
        assert call.cost == tariff.cost(before, images)
        before += images
    assert Meter.objects.get().cost == tariff.cost(0, before)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_died_between_two_calls_is_made_anew(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persons.proxy.views._answer", lambda request, method, key: b"{}")
    ask = wire.in_process(wire.make_key(team)[1])
    assert ask("recognize", meta(pictures())).raw == b"{}"
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            ((pid,),) = cursor.fetchall()
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        other.close()
    assert ask("recognize", meta(pictures())).raw == b"{}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("found", "wanted"), [(None, 6), (1, 7)], ids=["nobody", "somebody whom the ledger knows"]
)
def test_a_call_asks_the_database_no_more_than_it_must(
    team: Team, space: Space, settings: Any, found: int | None, wanted: int
) -> None:
    """Key, space, stored answer; its rows; both circuits; then total, meter and end together."""
    settings.REUSE_HOURS = 24

    factories.PersonFactory.create(space=space, person_id=1)
    token = wire.make_key(team)[1]
    ask: Ask = wire.in_process(token)
    body = fakes.answer(fakes.seen("file", fakes.found(found)))
    with Misbehaving(answering(body)) as server:
        settings.VISION_URL, settings.VISION_TOKEN = server.url, Secret("a token of these tests")
        cloud.cloud.cache_clear()
        ask("recognize", file("file", b"first"), meta(pictures()))
        with CaptureQueriesContext(connection) as queries:
            got = ask("recognize", file("file", b"second"), meta(pictures()))
    assert got.raw == body
    told = [query["sql"] for query in queries]
    if connection.vendor == "sqlite":
        # One file, and no way to it: steps are statements, and each write has its transaction.
        wanted += 10
    assert len(told) == wanted, "\n".join(told)


def test_a_table_knows_only_plain_columns_by_heart(team: Team) -> None:
    """JSON's null and texts are not a column's null and texts."""
    key = wire.make_key(team, methods=["set"])[0]
    sql, values = Table(ApiKey).update([key], ["methods", "name", "last_used_address"])
    run((sql, values))
    key.refresh_from_db()
    assert (key.methods, key.last_used_address) == (["set"], None)
