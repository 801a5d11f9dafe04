"""A worker that is killed amid 100 photos and started again loses none and doubles none.

A real Celery worker runs on the test's own database and broker: SQLite with the filesystem broker,
or PostgreSQL with Redis where DATABASE_URL and REDIS_URL are set.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings as django_settings
from PIL import Image, ImageEnhance
from pytest_django import Settings

from persons import tasks
from persons.actions.faces import name_face
from persons.actions.photos import add_photo
from persons.backends.embedded import DatabaseStore
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Run,
    Space,
    SyncState,
    User,
)
from persons.models.calls import Outcome
from tests.support.factories import GalleryFactory
from tests.support.fakes import by
from tests.support.processes import CeleryProcess, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

PHOTOS: Path = django_settings.BASE_DIR / "demo" / "photos"
PEOPLE = ["macron_1", "macron_2", "ardern_1", "ardern_2", "obama_1", "sunak_1", "collins_1"]
FACES_ON = dict.fromkeys(PEOPLE, 1) | {"group_1": 4}
COUNT = 100


@pytest.fixture(scope="module")
def pictures() -> list[tuple[str, bytes]]:
    """A hundred different small pictures of the demo's people, one in twelve with four on it."""
    originals = {name: Image.open(PHOTOS / f"{name}.jpg").convert("RGB") for name in FACES_ON}
    pictures = []
    for number in range(COUNT):
        name = "group_1" if number % 12 == 5 else PEOPLE[number % len(PEOPLE)]
        picture = originals[name]
        longest = (900 if name == "group_1" else 320) + number % 7 * 8
        picture = picture.resize(
            (
                round(picture.width * longest / max(picture.size)),
                round(picture.height * longest / max(picture.size)),
            )
        )
        picture = ImageEnhance.Brightness(picture).enhance(0.92 + number % 9 * 0.02)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=80 + number % 13)
        pictures.append((name, out.getvalue()))
    assert len({data for _, data in pictures}) == COUNT
    return pictures


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="trip")


def done() -> int:
    return Photo.objects.filter(state=PhotoState.DONE).count()


def at_rest() -> bool:
    """Nothing waits and nothing is under way, as far as the database knows."""
    return (
        not Photo.objects.unfinished().exists()
        and not Person.objects.exclude(sync_state=SyncState.IDLE).exists()
    )


def killed_in_the_middle(worker: CeleryProcess) -> None:
    """When some photos are recognised and some are not."""
    wait_until(lambda: done() >= 30, what="the first 30 photos")
    worker.kill()
    assert done() < COUNT, "it was too quick to be killed in the middle"
    assert Photo.objects.unfinished().exists()


def until_all_is_done(settings: Settings) -> None:
    """As beat would, the sweep enqueues what is left; a lease ends soon after a worker's death."""
    settings.LEASE_SECONDS = 4
    swept = 0

    def rest() -> bool:
        nonlocal swept
        swept += 1
        if swept % 20 == 1:
            tasks.sweep()
        return at_rest()

    wait_until(rest, what="all photos to be recognised")
    settings.LEASE_SECONDS = settings.CALL_SECONDS = 0
    tasks.sweep()


def check_nothing_is_lost_or_doubled(pictures: list[tuple[str, bytes]]) -> None:
    states = Counter(Photo.objects.values_list("state", flat=True))
    assert states == {PhotoState.DONE: COUNT}
    faces = {photo.file_name: photo.faces.count() for photo in Photo.objects.all()}
    assert faces == {f"{n}.jpg": FACES_ON[name] for n, (name, _) in enumerate(pictures)}
    assert not Face.objects.filter(missing=True).exists()
    # Each photo's last word is one call's; what the dead worker had asked is in the history too.
    assert not Call.objects.filter(outcome=Outcome.RUNNING).exists()
    told = Recognition.objects.filter(status=0, call__method="recognize").values_list(
        "photo", flat=True
    )
    assert set(told) == set(Photo.objects.values_list("pk", flat=True))
    assert not Run.objects.filter(finished_at=None).exists()


def upload(user: User, gallery: Gallery, pictures: list[tuple[str, bytes]]) -> None:
    for number, (_, data) in enumerate(pictures):
        file = io.BytesIO(data)
        add_photo(actor=by(user), gallery=gallery, file=file, file_name=f"{number}.jpg")


def test_every_photo_is_recognised_and_a_name_in_flight_survives(
    real_worker: Callable[..., CeleryProcess],
    bob: User,
    gallery: Gallery,
    pictures: list[tuple[str, bytes]],
    settings: Settings,
) -> None:
    worker = real_worker()
    upload(bob, gallery, pictures)
    sunak = next(n for n, (name, _) in enumerate(pictures) if name == "sunak_1")
    photo = Photo.objects.get(file_name=f"{sunak}.jpg")
    wait_until(photo.faces.exists, what="the first faces")
    wait_until(lambda: done() >= 28, what="the first photos")
    name_face(actor=by(bob), face=photo.faces.get(), label="Rishi Sunak")
    killed_in_the_middle(worker)

    worker.start()
    until_all_is_done(settings)

    check_nothing_is_lost_or_doubled(pictures)
    person = Person.objects.get()
    assert person.label == "Rishi Sunak"
    enrolment = Enrolment.objects.get()
    assert (enrolment.person, enrolment.state) == (person, EnrolmentState.DONE)
    expected = {f"{n}.jpg" for n, (name, _) in enumerate(pictures) if name == "sunak_1"}
    assert set(person.faces.values_list("photo__file_name", flat=True)) == expected


def test_people_made_of_unknown_faces_are_each_made_once(
    real_worker: Callable[..., CeleryProcess],
    bob: User,
    gallery: Gallery,
    pictures: list[tuple[str, bytes]],
    settings: Settings,
) -> None:
    Space.objects.filter(pk=gallery.space_id).update(create_new=True)
    worker = real_worker()
    upload(bob, gallery, pictures)
    killed_in_the_middle(worker)

    worker.start()
    until_all_is_done(settings)

    check_nothing_is_lost_or_doubled(pictures)
    known = DatabaseStore(gallery.team_id).load(gallery.space.number)
    people = Person.objects.all()
    assert sorted(person.person_id for person in people) == sorted(known.person_ids.tolist())
    # Nobody was made who would have been found, so nobody was made twice.
    similar = known.vectors @ known.vectors.T
    np.fill_diagonal(similar, 0)
    assert similar.max() < gallery.space.threshold
    assert not Face.objects.filter(person=None).exists()
    # The demo's five people, as an uninterrupted run finds them.
    assert len(people) == 5
    by_person: dict[int | None, set[str]] = {}
    for face in Face.objects.select_related("photo"):
        name = pictures[int(face.photo.file_name.split(".")[0])][0]
        if name != "group_1":
            by_person.setdefault(face.person_id, set()).add(name.split("_")[0])
    assert sorted(map(sorted, by_person.values())) == [
        ["ardern"],
        ["collins"],
        ["macron"],
        ["obama"],
        ["sunak"],
    ]
