"""One bad item makes Vision refuse a whole request: halving finds it, and no other one suffers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import ceil, log2

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from persons import pipeline
from persons.actions.snapshots import restore_space, take_snapshot
from persons.calls import log as call_log
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Person,
    Photo,
    PhotoState,
    Source,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.models.work import JobState
from persons.people.enrolments import picture_key
from persons.pipeline.vision_calls import Batch, CallOutcome, Loaded, Part, ask_in_parts
from persons.vision import envelope
from persons.vision.errors import VisionRejected, VisionTemporary
from persons.vision.meta import RecognizeRequest
from persons.vision.types import Image, Method
from tests.support.factories import GalleryFactory, PersonFactory
from tests.support.fakes import Asked, FakeVision, answer, by, seen, use, waiting_photo

pytestmark = pytest.mark.django_db

COUNTS = [1, 2, 9, 32]
BAD = b"a bad picture"
TEXT = "could not get image"


def refusing(vision: FakeVision, *, calls: int = 200) -> None:
    """From now on a request with the bad picture is refused, and any other is done."""

    def strict(asked: Asked) -> bytes:
        if any(image.data == BAD for image in asked.images):
            return envelope.failure(400, TEXT)
        return answer(*(seen(name) for name in asked.names))

    vision.script.extend([strict] * calls)


def most_calls(count: int) -> int:
    """One for all items, and two for each time that the part with the bad one is halved."""
    return 1 + 2 * ceil(log2(count))


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=3)


def enrolment(person: Person, content: bytes, state: EnrolmentState) -> Enrolment:
    digest = hashlib.sha256(content).hexdigest()
    key = picture_key(person.space.team_id, digest)
    if not default_storage.exists(key):
        default_storage.save(key, ContentFile(content))
    call = Call.objects.create(
        team=person.space.team,
        space=person.space,
        method="set",
        source=Source.WORKER,
        backend=FakeVision.name,
        model=FakeVision.model,
        outcome=Outcome.DONE,
    )
    is_done = state == EnrolmentState.DONE
    return Enrolment.objects.create(
        person=person,
        state=state,
        sha256=digest,
        image=key,
        call=call if is_done else None,
        done_at=timezone.now() if is_done else None,
    )


def pictures(count: int) -> list[bytes]:
    """As many, of which one is bad, neither the first nor the last where there are more."""
    return [BAD if n == count // 2 else b"picture %d" % n for n in range(count)]


# --- The three that send batches ---


@pytest.mark.parametrize("count", COUNTS)
def test_one_bad_photo_is_found_and_the_others_are_recognised(
    space: Space, vision: FakeVision, count: int
) -> None:
    gallery = GalleryFactory.create(team=space.team, space=space)
    photos = [waiting_photo(gallery, sent=data) for data in pictures(count)]
    refusing(vision)
    assert pipeline.recognise_batch(space.pk)
    failed = Photo.objects.get(state=PhotoState.FAILED)
    assert (failed.pk, failed.error) == (photos[count // 2].pk, TEXT)
    done = Photo.objects.filter(state=PhotoState.DONE)
    assert (done.count(), Photo.objects.exclude(attempts=0).count()) == (count - 1, 0)
    assert len(vision.asked) <= most_calls(count)
    assert not Call.objects.filter(outcome=Outcome.RUNNING).exists()


@pytest.mark.parametrize("count", COUNTS)
def test_one_bad_picture_of_a_person_is_found_and_the_others_are_set(
    space: Space, vision: FakeVision, count: int
) -> None:
    person: Person = PersonFactory.create(space=space, sync_state="queued")
    rows = [enrolment(person, data, EnrolmentState.QUEUED) for data in pictures(count)]
    refusing(vision)
    pipeline.sync(person.pk)
    failed = Enrolment.objects.get(state=EnrolmentState.FAILED)
    assert (failed.pk, failed.error) == (rows[count // 2].pk, TEXT)
    assert Enrolment.objects.filter(state=EnrolmentState.DONE).count() == count - 1
    person.refresh_from_db()
    assert (person.sync_state, person.sync_error) == ("idle", "")
    assert len(vision.asked) <= most_calls(count)


@pytest.mark.parametrize("count", COUNTS)
def test_one_bad_picture_of_a_restore_is_found_and_the_others_are_set(
    space: Space, vision: FakeVision, alice: User, count: int
) -> None:
    people = [PersonFactory.create(space=space) for _ in range(3)]
    for n, data in enumerate(pictures(count)):
        enrolment(people[n % 3], data, EnrolmentState.DONE)
    snapshot = ended(take_snapshot(actor=by(alice), space=space))
    refusing(vision)
    other = space.team.spaces.get(number=6)
    job = ended(restore_space(actor=by(alice), snapshot=snapshot, space=other))
    assert (job.state, job.error, job.attempts) == (JobState.DONE, "", 0)
    assert (job.report["accepted"], job.report["refused"]) == (count - 1, 1)
    failed = Enrolment.objects.get(state=EnrolmentState.FAILED)
    assert (failed.sha256, failed.error) == (hashlib.sha256(BAD).hexdigest(), TEXT)
    assert len(vision.asked) <= most_calls(count)


def ended(job: SpaceJob) -> SpaceJob:
    """As workers would, without the waiting in between."""
    waiting = [job.pk]
    for _ in range(50):
        if not waiting:
            break
        SpaceJob.objects.filter(state=JobState.QUEUED).update(after=timezone.now())
        waiting += pipeline.work(waiting.pop(0)).jobs
    job.refresh_from_db()
    return job


def test_while_vision_is_away_the_other_parts_of_photos_are_put_back_too(
    space: Space, vision: FakeVision
) -> None:
    """The first part is refused, then Vision fails for its first half: the second half is sent."""
    gallery = GalleryFactory.create(team=space.team, space=space)
    photos = [waiting_photo(gallery) for _ in range(4)]
    vision.script.extend([envelope.failure(400, TEXT), VisionTemporary("overloaded")])
    pipeline.recognise_batch(space.pk)
    states = [Photo.objects.get(pk=photo.pk).state for photo in photos]
    assert states == ["queued", "queued", "done", "done"]
    assert [len(names) for names in vision.recognised()] == [4, 2, 2]


# --- What a batch is told ---


class Told(Batch[int]):
    """Notes what it is told of its numbered items."""

    method = Method.RECOGNIZE

    def __init__(self, space: Space, vision: FakeVision, *, unwanted: int | None = None) -> None:
        self.space = space
        self.vision = vision
        self.unwanted = unwanted
        self.found: list[int] = []
        self.bad: list[int] = []

    def begin(self, items: Sequence[Loaded[int]]) -> Part[int] | None:
        left = [item for item in items if item[0] != self.unwanted]
        if not left:
            return None
        request = RecognizeRequest(self.space.number, tuple(image.name for _, image in left))
        call = call_log.begin(
            space=self.space,
            vision=self.vision,
            method=self.method,
            meta=request.as_meta(),
            images=[call_log.Sent(image) for _, image in left],
            origin=call_log.Origin(source=Source.WORKER),
        )
        return Part(call, request, left)

    def answered(self, part: Part[int], outcome: CallOutcome) -> None:
        for row, result in part.complete(outcome):
            assert result.name == f"n{row}"
            self.found.append(row)

    def refused(self, row: int, error: VisionRejected) -> None:
        assert str(error) == TEXT
        self.bad.append(row)


def items(contents: Sequence[bytes]) -> list[Loaded[int]]:
    return [(n, Image(f"n{n}", data)) for n, data in enumerate(contents)]


def sizes(vision: FakeVision) -> list[int]:
    return [len(asked.images) for asked in vision.asked]


@pytest.mark.parametrize("bad", [set(), {0}, {9}, {3, 4}, {0, 5, 9}, set(range(10))])
def test_each_item_is_told_of_once_and_in_order(
    space: Space, vision: FakeVision, bad: set[int]
) -> None:
    refusing(vision)
    batch = Told(space, vision)
    contents = [BAD if n in bad else b"good" for n in range(10)]
    ask_in_parts(vision, batch, items(contents), 4)
    assert batch.bad == sorted(bad)
    assert batch.found == [n for n in range(10) if n not in bad]


def test_parts_are_within_the_limits_of_count_and_bytes(space: Space, vision: FakeVision) -> None:
    batch = Told(space, vision)
    ask_in_parts(vision, batch, items([b"x"] * 10), 4)
    large = b"x" * 14_000_000
    ask_in_parts(vision, batch, items([large] * 3 + [b"x"]))
    assert sizes(vision) == [4, 4, 2, 2, 2]
    ask_in_parts(vision, batch, [])
    assert len(vision.asked) == 5, "nothing to send is no call"


def test_items_that_are_no_longer_wanted_are_left_out(space: Space, vision: FakeVision) -> None:
    batch = Told(space, vision, unwanted=4)
    ask_in_parts(vision, batch, items([b"x"] * 5), 4)
    assert (batch.found, sizes(vision)) == ([0, 1, 2, 3], [4])


def test_a_failure_that_no_item_is_to_blame_for_ends_the_batch(
    space: Space, vision: FakeVision
) -> None:
    batch = Told(space, vision)
    vision.script.extend([answer(*(seen(f"n{n}") for n in range(4))), VisionTemporary("away")])
    with pytest.raises(VisionTemporary, match="away"):
        ask_in_parts(vision, batch, items([b"x"] * 12), 4)
    assert (batch.found, sizes(vision)) == ([0, 1, 2, 3], [4, 4])
    outcomes = Call.objects.order_by("pk").values_list("outcome", flat=True)
    assert list(outcomes) == [Outcome.DONE, Outcome.TEMPORARY]
