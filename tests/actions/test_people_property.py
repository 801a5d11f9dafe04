"""Property test: no human decision about people is lost or changed by the machine.

People are named, merged, split, renamed and kept apart, and all of it is undone in any order. The
world of `test_decisions_property` runs against a model: each face's list of decisions, replayed
from the beginning without those that were undone.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from persons import pipeline
from persons.actions.changes import undo
from persons.actions.enrolment_selection import STANDING, lock_person, queue_sync
from persons.actions.faces import (
    clear_decision,
    confirm_faces,
    draw_face,
    erase_face,
    ignore_faces,
    name_face,
    name_faces,
    reject_faces,
)
from persons.actions.people import (
    different_people,
    forget_difference,
    merge_people,
    remove_enrolment,
    rename_person,
    split_person,
)
from persons.errors import Refused
from persons.faces.identity import resolve_identities
from persons.models import (
    Change,
    ChangedFace,
    Enrolment,
    Face,
    Likeness,
    Person,
    Photo,
    Rejection,
    SpaceJob,
)
from persons.models.changes import ChangeKind
from persons.vision import envelope
from persons.vision.types import Box, ImageStatus
from tests.support.decisions import FACES, GHOSTS, World, jittered
from tests.support.fakes import Asked, FakeVision, answer, found, seen, use
from tests.support.invariants import violations

pytestmark = pytest.mark.thorough

DRAWN = Box(20, 150, 100, 175)
"""Where nobody but a human ever sees a face. It is on the photo's left, above the ghosts."""


@dataclass(eq=False)
class Event:
    """What one change said of one face. `of` is the event whose picture was taken back by hand."""

    kind: str
    change: int = 0
    person: int | None = None
    not_them: frozenset[int] = frozenset()
    enrolled: bool = False
    of: Event | None = None
    undone: bool = False


@dataclass
class Told:
    """What comes out of a line."""

    decision: str = ""
    person: int | None = None
    rejected: set[int] = field(default_factory=set)
    enrolled: bool = False
    owner: Event | None = None


def told(line: Iterable[Event]) -> Told:
    now = Told()
    for event in line:
        if event.undone:
            continue
        if event.kind in ("name", "confirm", "split"):
            now.decision, now.person, now.enrolled, now.owner = (
                "named",
                event.person,
                event.enrolled,
                event,
            )
            now.rejected.discard(event.person or 0)
        elif event.kind in ("ignore", "clear"):
            now.decision = "ignored" if event.kind == "ignore" else ""
            now.person, now.enrolled, now.owner = None, False, event
            if event.kind == "clear":
                now.rejected = set()
        elif event.kind == "reject":
            now.rejected |= event.not_them
            if not now.decision or now.person in event.not_them:
                now.decision, now.person, now.enrolled, now.owner = "", None, False, event
        elif event.kind == "unenrolled" and now.owner is event.of:
            now.enrolled = False
    return now


class Society(World):
    """The same team, whose members also put their people in order."""

    STEPS = (
        *("upload", "decide", "decide", "decide", "decide", "ask_again", "sweep"),
        *("recognise", "recognise_all", "sync", "sync", "trash", "draw", "set_by_client"),
        *("merge", "merge", "split", "rename", "differ", "forget", "undo_one", "undo_one"),
        *("undo_last", "take_back_one"),
    )

    def __init__(self, vision: FakeVision) -> None:
        self.lines: dict[int, list[Event]] = defaultdict(list)
        self.merged: dict[int, int] = {}
        self.labels: dict[int, str] = {}
        self.pictures: dict[str, int] = {}
        """By digest, of whom a client set it; those that were taken back are not in it any more."""

        self.apart: set[frozenset[int]] = set()
        self.suggested: set[int] = set()
        super().__init__(vision)

    # --- The model ---

    def root(self, pk: int) -> int:
        while pk in self.merged:
            pk = self.merged[pk]
        return pk

    def subtree(self, pk: int) -> set[int]:
        everybody = {pk, *self.merged, *self.merged.values()}
        return {one for one in everybody if pk in self.path(one)}

    def path(self, pk: int) -> list[int]:
        path = [pk]
        while path[-1] in self.merged:
            path.append(self.merged[path[-1]])
        return path

    def are_apart(self, one: int, other: int) -> bool:
        pairs = {frozenset((a, b)) for a in self.subtree(one) for b in self.subtree(other)}
        return bool(pairs & self.apart)

    def who(self, face: Face) -> int | None:
        """Who a face is, by what was said of it."""
        said = told(self.lines[face.pk])
        if said.decision == "named":
            return self.root(said.person or 0)
        if said.decision == "ignored":
            return None
        not_them = {self.root(pk) for pk in said.rejected}
        for pk in (face.found_person_id, face.grouped_person_id):
            if pk is not None and self.root(pk) not in not_them:
                return self.root(pk)
        return None

    def note(self, change: Change) -> None:
        """A change that was just made."""
        for row in ChangedFace.objects.filter(change=change):
            self.lines[row.face_id].append(
                Event(
                    kind=change.kind,
                    change=change.pk,
                    person=row.after["person"],
                    not_them=frozenset(row.after.get("not_them", ())),
                    enrolled=row.after["taught"],
                )
            )

    # --- What people do to faces ---

    def faces(self) -> list[Face]:
        return list(
            Face.objects.filter(photo__gallery=self.gallery)
            .select_related("photo__gallery__space__team", "person")
            .order_by("photo", "top", "left", "pk")
        )

    def some(self, dice: Random, faces: list[Face]) -> list[Face]:
        return dice.sample(faces, dice.randint(1, min(4, len(faces))))

    def label(self, dice: Random) -> str:
        return dice.choice(["Ada", "ada ", "Bea", "BEA", "Cyd", "Юля", "ЮЛЯ", "Eve"])

    def decide(self, dice: Random) -> None:
        faces = self.faces()
        if faces:
            actions = [self.name_one, self.name_some, self.confirm_some]
            actions += [self.reject_some, self.reject_some, self.ignore_some, self.clear_one]
            dice.choice(actions)(faces, dice)

    def name_one(self, faces: list[Face], dice: Random) -> None:
        face, label = dice.choice(faces), self.label(dice)
        named = name_face(actor=self.actor, face=face, label=label)
        self.named(named.person, label)
        self.note(named.change)
        (row,) = ChangedFace.objects.filter(change=named.change)
        assert row.after["taught"]

    def name_some(self, faces: list[Face], dice: Random) -> None:
        label = self.label(dice)
        named = name_faces(actor=self.actor, faces=self.some(dice, faces), label=label)
        self.named(named.person, label)
        self.note(named.change)

    def named(self, person: Person, label: str) -> None:
        wanted = " ".join(label.split()).casefold()
        theirs = Person.objects.filter(pk__in=self.subtree(person.pk)).values_list(
            "label", flat=True
        )
        assert person.merged_into_id is None
        assert wanted in {one.casefold() for one in theirs}
        self.labels.setdefault(person.pk, person.label)
        if not self.labels[person.pk]:
            self.labels[person.pk] = person.label

    def confirm_some(self, faces: list[Face], dice: Random) -> None:
        some = self.some(dice, faces)
        wanted = [face for face in some if not face.decision and face.person_id]
        change = confirm_faces(actor=self.actor, faces=some)
        assert (change is not None) == bool(wanted)
        if change is not None:
            self.note(change)
            rows = ChangedFace.objects.filter(change=change)
            given = {row.face_id: row.after["person"] for row in rows}
            assert given == {face.pk: face.person_id for face in wanted}

    def reject_some(self, faces: list[Face], dice: Random) -> None:
        known = [face for face in faces if face.person_id]
        if not known:
            return
        person = dice.choice(known).person
        assert person is not None
        theirs = [face for face in known if face.person_id == person.pk]
        some = self.some(dice, theirs)
        change = reject_faces(actor=self.actor, faces=some, person=person)
        self.note(change)
        for row in ChangedFace.objects.filter(change=change):
            assert person.pk in row.after["not_them"]
            assert {self.root(pk) for pk in row.after["not_them"]} == {self.root(person.pk)}

    def ignore_some(self, faces: list[Face], dice: Random) -> None:
        self.note(ignore_faces(actor=self.actor, faces=self.some(dice, faces)))

    def clear_one(self, faces: list[Face], dice: Random) -> None:
        before = Change.objects.count()
        clear_decision(actor=self.actor, face=dice.choice(faces))
        if Change.objects.count() > before:
            self.note(Change.objects.latest("pk"))

    def take_back_one(self, dice: Random) -> None:
        """The picture goes, the name stays."""
        standing = list(Enrolment.objects.filter(state__in=STANDING).order_by("pk"))
        if not standing:
            return
        enrolment = dice.choice(standing)
        remove_enrolment(actor=self.actor, enrolment=enrolment)
        if enrolment.face_id is None:
            self.pictures.pop(enrolment.sha256, None)
        else:
            line = self.lines[enrolment.face_id]
            line.append(Event("unenrolled", of=told(line).owner))

    def draw(self, dice: Random) -> None:
        photo = dice.choice(list(self.gallery.photos.order_by("pk")) or [None])
        if photo is None:
            return
        label = dice.choice(["", self.label(dice)])
        try:
            face = draw_face(actor=self.actor, photo=photo, box=DRAWN, label=label)
        except Refused:
            drawn = photo.faces.get(is_drawn=True)
            if dice.random() < 0.5 and not told(self.lines[drawn.pk]).decision:
                with pytest.raises(Refused) if _has_pictures(drawn) else ExitStack():
                    erase_face(actor=self.actor, face=drawn)
                    self.lines.pop(drawn.pk, None)
            return
        if label:
            self.named(face.person or Person(), label)
            self.note(Change.objects.latest("pk"))

    def trash(self, dice: Random) -> None:
        photo = dice.choice(list(Photo.everything.order_by("pk")))
        trashed = photo.trashed_at is None
        if trashed and self.gallery.photos.count() < 2:
            return
        Photo.everything.filter(pk=photo.pk).update(trashed_at=timezone.now() if trashed else None)
        Face.everything.filter(photo=photo).update(trashed=trashed)
        resolve_identities([photo.pk])

    # --- What people do to people ---

    def people(self) -> list[Person]:
        return list(Person.objects.filter(space=self.gallery.space_id).order_by("pk"))

    def merge(self, dice: Random) -> None:
        people = self.people()
        if len(people) < 2:
            return
        person, into = dice.choice(people), dice.choice(people)
        root = self.root(into.pk)
        refused = person.pk in self.merged or person.pk == root or self.are_apart(person.pk, root)
        try:
            change = merge_people(actor=self.actor, person=person, into=into)
        except Refused:
            assert refused
            return
        assert not refused
        assert (change.person_id, change.other_id) == (person.pk, root)
        self.merged[person.pk] = root
        if not self.labels.get(root):
            self.labels[root] = self.labels.get(person.pk, "")

    def split(self, dice: Random) -> None:
        faces = [face for face in self.faces() if face.person_id]
        if not faces:
            return
        person = dice.choice(faces).person
        assert person is not None
        theirs = self.some(dice, [face for face in faces if face.person_id == person.pk])
        label = self.label(dice)
        taught = {face.pk for face in theirs if told(self.lines[face.pk]).enrolled}
        try:
            change = split_person(actor=self.actor, person=person, faces=theirs, label=label)
        except Refused:
            family = self.subtree(self.root(person.pk))
            named = {self.labels.get(pk, "").casefold() for pk in family}
            assert label.strip().casefold() in named
            return
        assert change.person is not None
        self.named(change.person, label)
        self.note(change)
        after = ChangedFace.objects.filter(change=change, after__taught=True)
        assert taught <= set(after.values_list("face", flat=True)), "pictures move with their faces"

    def rename(self, dice: Random) -> None:
        people = self.people()
        if not people:
            return
        person, label = dice.choice(people), self.label(dice).strip()
        bearers = [
            pk
            for pk, other in self.labels.items()
            if other.casefold() == label.casefold() and pk not in self.merged and pk != person.pk
        ]
        try:
            rename_person(actor=self.actor, person=person, label=label)
        except Refused:
            assert bearers or person.pk in self.merged
            return
        assert label == person.label
        assert not bearers or label == self.labels[person.pk]
        self.labels[person.pk] = label

    def differ(self, dice: Random) -> None:
        people = self.people()
        if len(people) < 2:
            return
        one, other = dice.choice(people), dice.choice(people)
        try:
            likeness = different_people(actor=self.actor, one=one, other=other)
        except Refused:
            assert self.root(one.pk) == self.root(other.pk)
            return
        pair = frozenset((self.root(one.pk), self.root(other.pk)))
        assert {likeness.one_id, likeness.other_id} == pair
        self.apart.add(pair)

    def forget(self, dice: Random) -> None:
        rows = list(Likeness.objects.exclude(decision="").order_by("pk"))
        if rows:
            row = dice.choice(rows)
            forget_difference(actor=self.actor, likeness=row)
            self.apart.discard(frozenset((row.one_id, row.other_id)))
            self.suggested.add(row.pk)

    def set_by_client(self, dice: Random) -> None:
        people = [person for person in self.people() if person.pk not in self.merged]
        if not people or len(self.pictures) > 5:
            return
        person = lock_person(dice.choice(people).pk)
        digest = hashlib.sha256(f"{len(self.pictures)} {dice.random()}".encode()).hexdigest()
        key = default_storage.save(f"enrolments/{digest}.jpg", ContentFile(b"picture"))
        Enrolment.objects.create(person=person, sha256=digest, image=key)
        queue_sync(person, actor=self.actor)
        self.pictures[digest] = person.pk

    # --- What people take back ---

    def undo_last(self, dice: Random) -> None:
        self.undo_of(Change.objects.filter(undone_at=None).order_by("-pk").first(), dice)

    def undo_one(self, dice: Random) -> None:
        standing = list(Change.objects.filter(undone_at=None).order_by("pk"))
        self.undo_of(dice.choice(standing) if standing else None, dice)

    def undo_of(self, change: Change | None, dice: Random) -> None:
        if change is None:
            return
        if change.kind == ChangeKind.MERGE:
            self.part(change)
            return
        undo(actor=self.actor, change=change)
        for line in self.lines.values():
            for event in line:
                event.undone |= event.change == change.pk
        pk = change.person_id
        if pk is not None and not Person.objects.filter(pk=pk).exists():
            self.was_removed(pk)
        elif pk is not None:
            label = Person.objects.get(pk=pk).label
            assert label == self.labels[pk] or (not label and change.label)
            self.labels[pk] = label

    def part(self, change: Change) -> None:
        pk, into = change.person_id or 0, change.other_id or 0
        label, kept = self.labels.get(pk, ""), self.labels.get(into, "")
        undone = undo(actor=self.actor, change=change)
        assert self.merged.pop(pk) == into
        with pytest.raises(Refused, match="undone already"):
            undo(actor=self.actor, change=change)
        after = dict(Person.objects.filter(pk__in=[pk, into]).values_list("pk", "label"))
        assert after[into] in (kept, "")
        assert after[into] == kept or change.label == kept
        self.labels[into] = after[into]
        if after[pk] != label:
            others = {
                one.casefold()
                for other, one in self.labels.items()
                if other not in self.merged and other != pk
            }
            assert label.casefold() in others
            assert after[pk].startswith(f"{label} (")
            assert after[pk] in undone.notice
        self.labels[pk] = after[pk]

    def was_removed(self, pk: int) -> None:
        """Nobody whom anybody speaks of is ever removed."""
        for line in self.lines.values():
            assert told(line).person != pk
            assert pk not in told(line).rejected
        assert pk not in self.merged.values() and pk not in self.merged
        assert pk not in self.pictures.values()
        assert not [pair for pair in self.apart if pk in pair]
        self.labels.pop(pk, None)

    # --- What Vision says ---

    def recognised(self, dice: Random, asked: Asked) -> bytes:
        ids = [None, *Person.objects.values_list("person_id", flat=True).order_by("pk"), 901, 902]
        objects = []
        for name in asked.names:
            if dice.random() < 0.1:
                objects.append(envelope.failed(name, "busy", ImageStatus.TEMPORARY))
                continue
            persons = [
                found(
                    dice.choice(ids),
                    jittered(dice, box),
                    similarity=dice.choice([0.9, 1.0, 0.45, 0.39, 0.1]),
                    aliases=[envelope.tag_of(dice.choice(ids)) for _ in range(dice.randint(0, 2))],
                )
                for box in [*FACES, *GHOSTS]
                if dice.random() < (0.75 if box in FACES else 0.2)
            ]
            objects.append(seen(name, *persons))
        return answer(*objects)

    # --- What must hold ---

    def check(self) -> None:
        assert violations() == []
        gone = self.labels.keys() - set(Person.objects.values_list("pk", flat=True))
        for pk in gone:
            # A worker has taken the last picture back of somebody who was made by mistake.
            self.was_removed(pk)
        for pk, label in Person.objects.values_list("pk", "label"):
            assert self.labels.setdefault(pk, "") == label
        self.no_word_of_a_human_is_lost()
        self.pointers_are_as_they_were_set()
        self.who_a_face_is_follows_from_what_was_said_of_it()
        self.names_are_nobody_elses()
        self.crops_are_pictures_of_whom_they_show()
        self.no_pair_is_suggested_that_is_one_or_never()

    def no_word_of_a_human_is_lost(self) -> None:
        faces = Face.everything.in_bulk(self.lines)
        rejected: dict[int, set[int]] = defaultdict(set)
        for face_pk, person_pk in Rejection.objects.values_list("face", "person"):
            rejected[face_pk].add(person_pk)
        for pk, line in self.lines.items():
            said = told(line)
            if pk not in faces:
                assert not said.decision and not said.rejected, "a face that was decided on is gone"
                continue
            face = faces[pk]
            assert (face.decision, face.decided_person_id) == (said.decision, said.person)
            assert rejected[pk] == said.rejected

    def pointers_are_as_they_were_set(self) -> None:
        merged = Person.objects.exclude(merged_into=None).values_list("pk", "merged_into")
        assert dict(merged) == self.merged

    def who_a_face_is_follows_from_what_was_said_of_it(self) -> None:
        columns = ("pk", "person", "review", "review_rank")
        before = {pk: rest for pk, *rest in Face.everything.values_list(*columns)}
        for face in Face.everything.all():
            assert face.person_id == self.who(face)
        resolve_identities(Photo.everything.values_list("pk", flat=True))
        assert {pk: rest for pk, *rest in Face.everything.values_list(*columns)} == before
        for photo in Photo.everything.prefetch_related(None):
            faces = [face for face in Face.everything.filter(photo=photo) if not face.missing]
            assert photo.face_count == len(faces)
            unknown = [face for face in faces if not face.decision and not face.person_id]
            assert photo.unknown_count == len(unknown)

    def names_are_nobody_elses(self) -> None:
        unmerged = Person.objects.filter(merged_into=None).exclude(label="")
        labels = Counter(label.casefold() for label in unmerged.values_list("label", flat=True))
        assert not [label for label, count in labels.items() if count > 1]

    def crops_are_pictures_of_whom_they_show(self) -> None:
        standing = Enrolment.objects.filter(state__in=STANDING)
        expected = []
        for pk, line in self.lines.items():
            said = told(line)
            if said.enrolled and said.person is not None:
                expected.append((pk, self.root(said.person)))
        crops = standing.exclude(face=None).values_list("face", "person")
        assert sorted(crops) == sorted(expected)
        by_client = standing.filter(face=None).values_list("sha256", "person")
        wanted = [(digest, self.root(pk)) for digest, pk in self.pictures.items()]
        assert sorted(by_client) == sorted(wanted)

    def no_pair_is_suggested_that_is_one_or_never(self) -> None:
        rows = list(Likeness.objects.filter(decision="").exclude(pk__in=self.suggested))
        for row in rows:
            assert self.root(row.one_id) != self.root(row.other_id)
            assert not self.are_apart(self.root(row.one_id), self.root(row.other_id))
            self.suggested.add(row.pk)

    def each_named_face_teaches_its_person_once_and_no_other_face_teaches(self) -> None:
        self.crops_are_pictures_of_whom_they_show()


def faces_follow() -> None:
    for job in SpaceJob.objects.filter(state="queued"):
        pipeline.work(job.pk)
    assert not SpaceJob.objects.exclude(state__in=["done", "stopped"]).exists()


def _has_pictures(face: Face) -> bool:
    return face.enrolments.exclude(state="removed").exists()


@pytest.mark.parametrize("at_once", [pytest.param(True, marks=pytest.mark.any_database), False])
@pytest.mark.django_db
@settings(
    max_examples=settings().max_examples // 16,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    steps=st.lists(st.sampled_from(Society.STEPS), min_size=30, max_size=50),
    dice=st.randoms(use_true_random=True),
)
def test_nothing_that_a_person_decided_is_lost_by_merging_splitting_and_undoing(
    at_once: bool, steps: list[str], dice: Random
) -> None:
    """Also where faces are too many to be moved at once, and things go on before they are."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("persons.tasks.enqueue", lambda work: None)
        example = transaction.atomic()
        # Part of the test, as its own transaction is: Vision may be asked inside it.
        vars(example)["_from_testcase"] = True
        stack.enter_context(example)
        stack.callback(transaction.set_rollback, True)
        if not at_once:
            patch.setattr("persons.actions.merging.MOST_MOVED", 0)
        society = Society(use(patch, FakeVision()))
        society.check()
        for step in steps:
            getattr(society, step)(dice)
            if at_once or dice.random() < 0.6:
                faces_follow()
                society.check()
            else:
                society.no_pair_is_suggested_that_is_one_or_never()
        faces_follow()
        society.come_to_rest()
        society.check()
