"""Random decisions on faces as steps of a world, with a simpler model of their outcome."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
from django.utils import timezone

from persons import pipeline
from persons.actions.faces import clear_decision, ignore_face, name_face, reject_person
from persons.actions.people import remove_enrolment
from persons.actions.photos import recognise_gallery_again, recognise_photo_again
from persons.errors import Refused
from persons.faces.boxes import SAME_FACE, overlap
from persons.faces.identity import resolve_identities
from persons.models import (
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Person,
    Photo,
    PhotoState,
    Rejection,
    Run,
    SyncState,
)
from persons.pipeline.enrolment.crops import box_of
from persons.vision import envelope
from persons.vision.types import Box, ImageStatus, Method
from tests.support.factories import GalleryFactory, TeamFactory, UserFactory
from tests.support.fakes import (
    Asked,
    FakeVision,
    answer,
    by,
    due_now,
    found,
    lease_is_over,
    once,
    seen,
    waiting_photo,
)

FACES = [Box(10, 20, 110, 140), Box(140, 20, 240, 140), Box(270, 20, 370, 140)]
"""Boxes of people on a photo. They move by a twelfth at most, so they still match."""

GHOSTS = [Box(20, 180, 80, 250), Box(160, 180, 220, 250), Box(300, 180, 360, 250)]
"""Boxes where Vision sometimes finds a face although there is none."""

LABELS = ["Ada", "ada ", "Bea", "BEA", "Cyd", "Юля", "ЮЛЯ"]

LIVE = [EnrolmentState.QUEUED, EnrolmentState.DONE, EnrolmentState.FAILED]


@dataclass
class Word:
    """The model's state of the human decisions on one face."""

    place: tuple[int, int]
    """The photo's pk, and which of its FACES or GHOSTS it is."""

    decision: str = Decision.NONE
    person: int | None = None
    rejected: set[int] = field(default_factory=set)
    enrolled: bool = False
    """Whether its crop is, or should become, an enrolled picture of `person`."""


class World:
    """One team with one gallery, and the model of all decisions in it."""

    STEPS: tuple[str, ...] = (
        *("upload", "decide", "decide", "decide", "ask_again", "sweep"),
        *("recognise", "recognise_all", "sync", "sync"),
    )

    def __init__(self, vision: FakeVision) -> None:
        self.vision = vision
        self.gallery = GalleryFactory.create(team=TeamFactory.create())
        self.actor = by(UserFactory.create())
        self.words: dict[int, Word] = {}
        self.upstream: dict[int, set[str]] = defaultdict(set)
        """What Vision knows: the names of the pictures, by person_id."""

        for _ in range(2):
            photo = waiting_photo(self.gallery)
            self.vision.show(photo, *(found(None, corners(box)) for box in FACES))
        pipeline.recognise_batch(self.gallery.space_id)

    # --- What people do ---

    def upload(self, dice: Random) -> None:
        if self.gallery.photos.count() < 4:
            waiting_photo(self.gallery)

    def decide(self, dice: Random) -> None:
        faces = list(
            Face.objects.filter(photo__gallery=self.gallery)
            .select_related("photo__gallery__space__team", "person")
            .order_by("photo", "top", "left", "pk")
        )
        if not faces:
            return
        face = dice.choice(faces)
        decisions = [self.name, self.ignore, self.undo, self.reject]
        decisions += [self.reject, self.take_back] if face.person_id else [self.name] * 3
        dice.choice(decisions)(face, dice)

    def word(self, face: Face) -> Word:
        if face.pk not in self.words:
            self.words[face.pk] = Word((face.photo_id, place_of(face)))
        return self.words[face.pk]

    def name(self, face: Face, dice: Random) -> None:
        named = name_face(actor=self.actor, face=face, label=dice.choice(LABELS))
        word = self.word(face)
        word.decision, word.person, word.enrolled = Decision.NAMED, named.person.pk, True
        word.rejected.discard(named.person.pk)

    def reject(self, face: Face, dice: Random) -> None:
        if face.person_id is None:
            with pytest.raises(Refused):
                reject_person(actor=self.actor, face=face, person=face.person)
            return
        reject_person(actor=self.actor, face=face, person=face.person)
        word = self.word(face)
        word.rejected.add(face.person_id)
        word.decision, word.person, word.enrolled = Decision.NONE, None, False

    def ignore(self, face: Face, dice: Random) -> None:
        ignore_face(actor=self.actor, face=face)
        word = self.word(face)
        word.decision, word.person, word.enrolled = Decision.IGNORED, None, False

    def undo(self, face: Face, dice: Random) -> None:
        """Clear the decision. Such a face may disappear."""
        clear_decision(actor=self.actor, face=face)
        self.words.pop(face.pk, None)

    def take_back(self, face: Face, dice: Random) -> None:
        """Remove the enrolled picture; the name stays."""
        enrolment = Enrolment.objects.filter(face=face, state__in=LIVE).first()
        if enrolment is not None:
            remove_enrolment(actor=self.actor, enrolment=enrolment)
            self.word(face).enrolled = False

    def ask_again(self, dice: Random) -> None:
        if dice.random() < 0.5:
            photo = dice.choice(list(self.gallery.photos.order_by("pk")))
            recognise_photo_again(actor=self.actor, photo=photo)
            return
        try:
            recognise_gallery_again(actor=self.actor, gallery=self.gallery)
        except Refused:
            assert not self.gallery.photos.exclude(state=PhotoState.QUEUED).exists()

    # --- What workers do ---

    def recognise_all(self, dice: Random) -> None:
        Photo.objects.filter(state=PhotoState.DONE).update(state=PhotoState.QUEUED)
        self.recognise(dice)

    def recognise(self, dice: Random) -> None:
        due_now()
        self.vision.max_batch = dice.randint(1, 4)
        with self.asking(dice):
            pipeline.recognise_batch(self.gallery.space_id)

    def sync(self, dice: Random) -> None:
        Person.objects.filter(sync_state=SyncState.QUEUED).update(after=timezone.now())
        waiting = list(Person.objects.filter(sync_state=SyncState.QUEUED).order_by("pk"))
        if waiting:
            with self.asking(dice):
                pipeline.sync(dice.choice(waiting).pk)

    def sweep(self, dice: Random) -> None:
        """Sweep as after workers died: all leases are over."""
        lease_is_over()
        pipeline.sweep()

    @contextmanager
    def asking(self, dice: Random) -> Iterator[None]:
        """Let Vision answer, often with another step before its answer is stored."""
        self.vision.script.extend([lambda asked: self.answered(dice, asked)] * 50)
        meanwhile: list[Callable[[Random], object]] = [self.decide, self.ask_again, self.overtake]
        if dice.random() < 0.5:
            once(self.vision, lambda: dice.choice(meanwhile)(dice))
        yield
        self.vision.script.clear()
        self.vision.before = None

    def overtake(self, dice: Random) -> None:
        """Another worker claims the waiting work, or even what the first one still holds."""
        if dice.random() < 0.5:
            self.sweep(dice)
            due_now()
        pipeline.recognise_batch(self.gallery.space_id)

    def answered(self, dice: Random, asked: Asked) -> bytes:
        if dice.random() < 0.1:
            return dice.choice(
                [envelope.failure(500, "internal"), envelope.failure(400, "bad"), b"<html>"]
            )
        match asked.method:
            case Method.RECOGNIZE:
                reply = self.recognised(dice, asked)
            case Method.SET:
                reply = self.enrolled(dice, asked)
            case _:
                for person_id in asked.person_ids:
                    self.upstream.pop(person_id, None)
                reply = answer(*(envelope.done(name) for name in asked.names))
        return b"<html>what was done is not said</html>" if dice.random() < 0.05 else reply

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
                    similarity=dice.choice([0.9, 1.0, 0.39, 0.1]),
                )
                for box in [*FACES, *GHOSTS]
                if dice.random() < (0.75 if box in FACES else 0.2)
            ]
            dice.shuffle(persons)
            objects.append(seen(name, *persons))
        dice.shuffle(objects)
        return answer(*objects)

    def enrolled(self, dice: Random, asked: Asked) -> bytes:
        objects = []
        for image, person_id in zip(asked.images, asked.person_ids, strict=True):
            status = dice.choice(list(ImageStatus)) if dice.random() < 0.3 else ImageStatus.DONE
            if status == ImageStatus.DONE:
                self.upstream[person_id].add(image.name)
                objects.append(envelope.done(image.name))
            else:
                objects.append(envelope.failed(image.name, "no", status))
        return answer(*objects)

    # --- What must hold ---

    def check(self) -> None:
        self.no_word_of_a_human_is_lost()
        self.who_a_face_is_follows_from_what_was_said_of_it()
        self.nothing_is_doubled()
        self.each_named_face_teaches_its_person_once_and_no_other_face_teaches()

    def no_word_of_a_human_is_lost(self) -> None:
        faces = Face.objects.in_bulk(self.words)
        rejected: dict[int, set[int]] = defaultdict(set)
        for face_pk, person_pk in Rejection.objects.values_list("face", "person"):
            rejected[face_pk].add(person_pk)
        for pk, word in self.words.items():
            assert pk in faces, "a face that was decided on is gone"
            face = faces[pk]
            assert (face.photo_id, place_of(face)) == word.place
            assert (face.decision, face.decided_person_id) == (word.decision, word.person)
            assert rejected[pk] == word.rejected
            if word.decision == Decision.NAMED:
                assert face.person_id == word.person
            else:
                assert face.person_id not in word.rejected

    def who_a_face_is_follows_from_what_was_said_of_it(self) -> None:
        before = dict(Face.objects.values_list("pk", "person"))
        resolve_identities(Photo.objects.values_list("pk", flat=True))
        assert dict(Face.objects.values_list("pk", "person")) == before

    def nothing_is_doubled(self) -> None:
        places = Counter((face.photo_id, place_of(face)) for face in Face.objects.all())
        assert not [place for place, count in places.items() if count > 1]
        labels = Counter(
            label.casefold() for label in Person.objects.values_list("label", flat=True) if label
        )
        assert not [label for label, count in labels.items() if count > 1]

    def each_named_face_teaches_its_person_once_and_no_other_face_teaches(self) -> None:
        live = Enrolment.objects.filter(state__in=LIVE).values_list("face", "person")
        expected = {pk: word.person for pk, word in self.words.items() if word.enrolled}
        assert sorted(live) == sorted(expected.items())

    def come_to_rest(self) -> None:
        """Without further decisions or faults, Vision ends in step with the ledger."""
        for _ in range(100):
            self.sweep(Random(0))
            due_now()
            Person.objects.update(after=timezone.now())
            queued = Person.objects.filter(sync_state=SyncState.QUEUED)
            # Sync all of them, as one may have to wait for another.
            waiting = list(queued.order_by("pk").values_list("pk", flat=True))
            self.vision.script.extend([self.answered_in_order] * 50)
            for pk in waiting:
                pipeline.sync(pk)
            if not waiting and not pipeline.recognise_batch(self.gallery.space_id):
                break
        else:
            pytest.fail("it never comes to rest")
        states = set(self.gallery.photos.values_list("state", flat=True))
        assert states <= {PhotoState.DONE, PhotoState.FAILED}
        assert not Run.objects.filter(finished_at=None).exists()
        ledger: dict[int, set[str]] = defaultdict(set)
        for row in Enrolment.objects.filter(state=EnrolmentState.DONE).select_related("person"):
            ledger[row.person.person_id].add(f"enrolment{row.pk}")
        # After Vision refused a delete, or after giving up on a picture whose answer was lost, the
        # person's page shows an error.
        told = set(Person.objects.exclude(sync_error="").values_list("person_id", flat=True))
        failed = set(
            Enrolment.objects.filter(state=EnrolmentState.FAILED).values_list(
                "person__person_id", flat=True
            )
        )
        for person_id in {*ledger, *self.upstream} - told - failed:
            assert self.upstream[person_id] == ledger[person_id]

    def answered_in_order(self, asked: Asked) -> bytes:
        if asked.method is Method.RECOGNIZE:
            return answer(*(seen(name) for name in asked.names))
        for image, person_id in zip(asked.images, asked.person_ids, strict=False):
            self.upstream[person_id].add(image.name)
        if asked.method is Method.DELETE:
            for person_id in asked.person_ids:
                self.upstream.pop(person_id, None)
        return answer(*(envelope.done(name) for name in asked.names))


def place_of(face: Face) -> int:
    """The index of this face in FACES followed by GHOSTS."""
    shares = [overlap(box_of(face), box) for box in [*FACES, *GHOSTS]]
    best = max(range(len(shares)), key=shares.__getitem__)
    assert shares[best] >= SAME_FACE, "a face is where nobody is"
    return best


def corners(box: Box) -> tuple[int, int, int, int]:
    return (box.left, box.top, box.right, box.bottom)


def jittered(dice: Random, box: Box) -> tuple[int, int, int, int]:
    most = (box.right - box.left) // 12
    left, top, right, bottom = (side + dice.randint(-most, most) for side in corners(box))
    return (left, top, right, bottom)
