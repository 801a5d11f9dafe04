"""`Person.canonical` always is the end of the `merged_into` chain, and one function writes it."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from persons.actions import merging
from persons.actions.changes import undo
from persons.actions.people import merge_people
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Change, Gallery, Person, Space, SpaceJob, User
from persons.models.canonical import Family, set_merged_into
from tests.support.factories import GalleryFactory, PersonFactory, UserFactory
from tests.support.fakes import at_once, by
from tests.support.invariants import canonical_violations

Make = Callable[[str], Person]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def person(gallery: Gallery) -> Make:
    def make(label: str) -> Person:
        made: Person = PersonFactory.create(space=gallery.space, label=label)
        return made

    return make


def canonical() -> dict[str, str]:
    return dict(Person.objects.values_list("label", "canonical__label"))


class TestOnTheirOwn:
    def test_a_new_person_is_canonical(self, person: Make) -> None:
        ada = person("Ada")
        assert ada.canonical == ada
        assert Person.objects.get(canonical=ada) == ada

    def test_so_are_many_that_are_made_at_once(self, gallery: Gallery, person: Make) -> None:
        ada = person("Ada")
        made = Person.objects.bulk_create(
            Person(
                space=gallery.space,
                person_id=number,
                label=f"P {number}",
                merged_into=ada if number > 503 else None,
            )
            for number in range(501, 507)
        )
        assert [one.canonical_id for one in made[:3]] == [one.pk for one in made[:3]]
        assert {one.canonical_id for one in made[3:]} == {ada.pk}
        assert canonical_violations() == []


class TestTheOneWriter:
    def test_the_subtree_goes_along_and_comes_back(self, person: Make) -> None:
        ada, bea, cyd, eve = map(person, ("Ada", "Bea", "Cyd", "Eve"))
        set_merged_into(ada, bea)
        set_merged_into(eve, bea)
        set_merged_into(bea, cyd)
        assert set(canonical().values()) == {"Cyd"}
        assert Family.of(ada.pk).subtree(bea.pk) == {ada.pk, bea.pk, eve.pk}
        set_merged_into(bea, None)
        assert canonical() == {"Ada": "Bea", "Bea": "Bea", "Eve": "Bea", "Cyd": "Cyd"}
        assert canonical_violations() == []

    def test_somebody_in_the_middle_is_parted(self, person: Make) -> None:
        ada, bea, cyd = map(person, ("Ada", "Bea", "Cyd"))
        set_merged_into(bea, cyd)
        set_merged_into(ada, bea)
        set_merged_into(ada, None)
        assert canonical() == {"Ada": "Ada", "Bea": "Cyd", "Cyd": "Cyd"}

    def test_it_takes_two_statements_for_any_number_of_people(self, person: Make) -> None:
        ada, bea, *others = (person(f"P {number}") for number in range(12))
        for one in others:
            set_merged_into(one, ada)
        with CaptureQueriesContext(connection) as queries:
            set_merged_into(ada, bea)
        assert len(queries) == 2

    @pytest.mark.parametrize("column", ["merged_into", "canonical"])
    def test_the_database_refuses_whoever_writes_one_column_alone(
        self, person: Make, column: str
    ) -> None:
        ada, bea = person("Ada"), person("Bea")
        with pytest.raises(IntegrityError, match="merged_or_canonical"), transaction.atomic():
            Person.objects.filter(pk=ada.pk).update(**{column: bea})
        set_merged_into(ada, bea)
        alone = {"merged_into": None, "canonical": ada}
        with pytest.raises(IntegrityError, match="merged_or_canonical"), transaction.atomic():
            Person.objects.filter(pk=ada.pk).update(**{column: alone[column]})

    @pytest.mark.django_db(transaction=True)
    def test_the_database_refuses_a_person_without_a_canonical_one(self, gallery: Gallery) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            super(Person, Person(space=gallery.space, person_id=77, canonical_id=0)).save()
        assert not Person.objects.exists()

    def test_nothing_else_in_the_code_writes_either_column(self) -> None:
        writers = set()
        for package in ("persons", "dashboard"):
            for path in (ROOT / package).rglob("*.py"):
                if "migrations" not in path.parts and set(_writes(path)):
                    writers.add(str(path.relative_to(ROOT)))
        # `make_people` creates people of a snapshot with the pointer they had there.
        assert writers == {
            "persons/models/canonical.py",
            "persons/models/people.py",
            "persons/pipeline/spaces/restore_mapping.py",
        }


def _writes(path: Path) -> Iterator[int]:
    """Lines that assign `merged_into` or `canonical`, or give one to `update` or `Person`."""
    columns = {"merged_into", "merged_into_id", "canonical_id"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if node.attr in columns | {"canonical"}:
                yield node.lineno
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in {"update", "create", "get_or_create", "update_or_create", "Person"} and any(
                word.arg in columns | {"canonical"} for word in node.keywords
            ):
                yield node.lineno


@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    @pytest.mark.parametrize("turned", [False, True])
    def test_one_is_merged_while_their_survivor_is(
        self, alice: User, bob: User, person: Make, turned: bool
    ) -> None:
        """Ada into Bea and Bea into Cyd: whoever is first, all three are one."""
        ada, bea, cyd = map(person, ("Ada", "Bea", "Cyd"))
        both = [
            lambda: merge_people(actor=by(alice), person=ada, into=bea),
            lambda: merge_people(actor=by(bob), person=bea, into=cyd),
        ]
        outcomes = at_once(*(reversed(both) if turned else both))
        assert all(isinstance(one, Change) for one in outcomes)
        assert set(canonical().values()) == {"Cyd"}
        assert canonical_violations() == []

    def test_two_into_each_other_make_no_circle(self, alice: User, bob: User, person: Make) -> None:
        ada, bea = person("Ada"), person("Bea")
        outcomes = at_once(
            lambda: merge_people(actor=by(alice), person=ada, into=bea),
            lambda: merge_people(actor=by(bob), person=bea, into=ada),
        )
        assert [type(one) for one in outcomes if not isinstance(one, Change)] == [Refused]
        assert len(set(canonical().values())) == 1
        assert canonical_violations() == []

    def test_one_is_parted_while_their_survivor_is_merged(
        self, alice: User, bob: User, person: Make
    ) -> None:
        ada, bea, cyd = map(person, ("Ada", "Bea", "Cyd"))
        change = merge_people(actor=by(bob), person=ada, into=bea)
        outcomes = at_once(
            lambda: undo(actor=by(alice), change=change),
            lambda: merge_people(actor=by(bob), person=bea, into=cyd),
        )
        assert all(isinstance(one, Change) for one in outcomes)
        assert canonical() == {"Ada": "Ada", "Bea": "Cyd", "Cyd": "Cyd"}


@pytest.mark.thorough
@pytest.mark.parametrize("most_moved", [0, merging.MOST_MOVED])
@pytest.mark.django_db
@settings(
    max_examples=max(5, settings().max_examples // 8),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    steps=st.lists(st.sampled_from(["merge", "merge", "undo", "new"]), min_size=5, max_size=25),
    dice=st.randoms(use_true_random=False),
)
def test_it_is_where_the_pointers_lead_after_merging_and_undoing_in_any_order(
    most_moved: int, steps: list[str], dice: Random
) -> None:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("persons.tasks.enqueue", lambda work: None)
        patch.setattr(merging, "MOST_MOVED", most_moved)
        example = transaction.atomic()
        stack.enter_context(example)
        stack.callback(transaction.set_rollback, True)
        actor, space = by(UserFactory.create()), GalleryFactory.create().space
        PersonFactory.create_batch(4, space=space)
        for step in steps:
            _step(step, actor, space, dice)
            assert canonical_violations() == []


def _step(step: str, actor: Actor, space: Space, dice: Random) -> None:
    people = list(Person.objects.filter(space=space).order_by("pk"))
    changes = list(Change.objects.filter(undone_at=None).order_by("pk"))
    if step == "new":
        PersonFactory.create(space=space)
    elif step == "undo" and changes:
        undo(actor=actor, change=dice.choice(changes))
    elif step == "merge":
        person, into = dice.sample(people, 2)
        refused = merging.why_not_merged(person, into)
        with pytest.raises(Refused) if refused else nullcontext():
            merge_people(actor=actor, person=person, into=into)


# --- Installations of before ---


def _filling() -> ModuleType:
    return importlib.import_module("persons.migrations.0017_canonical_2_filled")


@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
def test_it_is_filled_for_an_earlier_installation(
    gallery: Gallery, person: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_filling(), "BATCH", 3)
    ada, bea, cyd, eve, *_ = [person(f"P {number}") for number in range(8)]
    with transaction.atomic():
        for one, into in ((ada, bea), (bea, cyd), (eve, cyd)):
            set_merged_into(one, into)
    wanted = dict(Person.objects.values_list("pk", "canonical"))
    report = {"people": [ada.pk], "canonical": bea.pk, "since": [cyd.pk], "marks": []}
    job = SpaceJob.objects.create(
        team=gallery.team, space=gallery.space, kind=SpaceJob.Kind.PROPAGATE, report=report
    )
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes()
    try:
        executor.migrate([("persons", "0016_photo_taken_offset")])
        assert "canonical_id" not in _columns()
        before = SpaceJob.objects.values_list("report", flat=True).get(pk=job.pk)
        assert (before["root"], before["roots"]) == (bea.pk, [cyd.pk])
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(leaves)
    assert dict(Person.objects.values_list("pk", "canonical")) == wanted
    assert SpaceJob.objects.get(pk=job.pk).report == report
    assert canonical_violations() == []


def _columns() -> set[str]:
    with connection.cursor() as cursor:
        told = connection.introspection.get_table_description(cursor, "persons_person")
        return {column.name for column in told}


def test_a_circle_in_an_old_database_is_told_and_not_followed() -> None:
    with pytest.raises(RuntimeError, match=r"in a circle: \[3, 1, 2\]"):
        _filling().canonical_of(3, {1: 2, 2: 1, 3: 1})
