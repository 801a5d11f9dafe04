"""A scripted Vision, photos for it to recognise, threads that start together, dying workers."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, connections
from django.urls import get_resolver
from django.utils import timezone

from persons.audit import Actor
from persons.models import (
    AuditEntry,
    Call,
    Erasure,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Source,
    SpaceJob,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.proxy import answering  # noqa: F401 - one imported under `use` would keep the fake
from persons.vision import envelope, limits
from persons.vision.types import Answer, Image, Method
from tests.support.factories import PhotoFactory, jpeg
from tests.support.processes import PATIENCE

T = TypeVar("T")
Wire = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One call as Vision received it."""

    method: Method
    meta: Mapping[str, Any]
    images: tuple[Image, ...]

    @property
    def names(self) -> list[str]:
        return [str(entry["name"]) for entry in self.meta.get("images", [])]

    @property
    def person_ids(self) -> list[int]:
        return [int(entry["person_id"]) for entry in self.meta["images"]]


Reply = bytes | Exception | Callable[[Asked], bytes]


def found(
    person_id: int | None,
    box: tuple[int, int, int, int] = (100, 80, 200, 210),
    *,
    similarity: float = 0.8,
    **more: object,
) -> Wire:
    """One entry of `persons`. `box` is left, top, right, bottom in the sent copy's pixels."""
    return {
        "tag": envelope.tag_of(person_id),
        "coord": list(box),
        "confidence": 0.95,
        "awesomeness": 0.7,
        "similarity": similarity if person_id is not None else 0.1,
        "frontality": 0.9,
        "visibility": 0.8,
        **more,
    }


def seen(name: str, *persons: Wire) -> Wire:
    """An entry of `objects` of a recognised image; without a face it has no `persons`."""
    return {**envelope.done(name), **({"persons": list(persons)} if persons else {})}


def answer(*objects: Wire) -> bytes:
    return envelope.success({"objects": list(objects), "aliases_changed": False})


class FakeVision:
    """Gives the replies of its script, one a call, and after them does what requests ask for.

    A reply is an envelope's bytes, an exception to raise, or a function that makes the envelope.
    Without a script every `set` and `delete` succeeds, and a picture has the faces that `show` gave
    it, by its name on the wire. It fails the test when it is called inside a transaction, or beyond
    the API's limits.
    """

    name = "fake"
    model = "fake 1"

    def __init__(self, *script: Reply, max_batch: int = limits.MAX_IMAGES) -> None:
        self.script: deque[Reply] = deque(script)
        self.max_batch = max_batch
        self.asked: list[Asked] = []
        self.faces: dict[str, list[Wire]] = {}
        self.before: Callable[[Asked], None] | None = None
        """Called during each request, before it is answered."""
        self._lock = threading.Lock()

    def show(self, photo: Photo, *persons: Wire) -> None:
        """Set the faces that are found on this photo from now on."""
        self.faces[wire_name(photo)] = list(persons)

    def call(self, method: Method, meta: Mapping[str, Any], images: Sequence[Image]) -> Answer:
        assert not in_transaction(), "Vision was asked inside a transaction"
        assert len(images) <= limits.MAX_IMAGES
        assert sum(len(image.data) for image in images) <= limits.MAX_REQUEST_BYTES
        json.dumps(meta)
        asked = Asked(method, meta, tuple(images))
        with self._lock:
            self.asked.append(asked)
            reply = self.script.popleft() if self.script else None
        if self.before is not None:
            self.before(asked)
        if isinstance(reply, Exception):
            raise reply
        if reply is None:
            return Answer(self._answer(asked))
        return Answer(reply if isinstance(reply, bytes) else reply(asked))

    def _answer(self, asked: Asked) -> bytes:
        if asked.method is Method.RECOGNIZE:
            return answer(*(seen(name, *self.faces.get(name, [])) for name in asked.names))
        return answer(*(envelope.done(name) for name in asked.names))

    def methods(self) -> list[str]:
        return [asked.method.value for asked in self.asked]

    def recognised(self) -> list[list[str]]:
        """The names of the images of each `recognize`, in the order of the calls."""
        return [asked.names for asked in self.asked if asked.method is Method.RECOGNIZE]


def in_transaction() -> bool:
    """Whether this thread is in a transaction, other than the test's own."""
    return any(not vars(block)["_from_testcase"] for block in connection.atomic_blocks)


V = TypeVar("V")


def use(monkeypatch: pytest.MonkeyPatch, vision: V) -> V:
    """Make `vision` the Vision of every space of every team."""
    # A module imported later would import the fake as the real one and keep it after the test.
    get_resolver().url_patterns  # noqa: B018
    for name, module in list(sys.modules.items()):
        if name.startswith("persons.") and hasattr(module, "vision_for"):
            monkeypatch.setattr(module, "vision_for", lambda space: vision)
    return vision


def once(vision: FakeVision, happens: Callable[[], object]) -> None:
    """Call `happens` during Vision's next call, before its answer."""

    def before(asked: Asked) -> None:
        vision.before = None
        happens()

    vision.before = before


def wire_name(photo: Photo) -> str:
    """The photo's name in the pipeline's requests."""
    return f"photo{photo.pk}"


def waiting_photo(gallery: Gallery, *, sent: bytes | None = None, **columns: Any) -> Photo:
    """A prepared photo, 400 x 300, queued for recognition, with its sent copy in the storage."""
    photo: Photo = PhotoFactory.create(
        gallery=gallery, width=400, height=300, state=PhotoState.QUEUED, with_file=_picture()
    )
    data = sent if sent is not None else _picture()
    default_storage.save(photo.key("sent"), ContentFile(data))
    defaults = {
        "sent_width": 400,
        "sent_height": 300,
        "sent_size": len(data),
        "sent_sha256": hashlib.sha256(data).hexdigest(),
        "prepared_at": timezone.now(),
    }
    for name, value in {**defaults, **columns}.items():
        setattr(photo, name, value)
    photo.save()
    return photo


_PICTURE = jpeg((90, 90, 200), (400, 300))
_numbers = itertools.count()


def _picture() -> bytes:
    """Equal pixels in different bytes: decoders ignore what follows a JPEG's end."""
    return _PICTURE + next(_numbers).to_bytes(8)


def due_now() -> None:
    """Make all photos due, as if every backoff were over."""
    Photo.objects.update(after=timezone.now())


def by(user: User | None) -> Actor:
    return Actor(user=user, source=Source.PAGE, address="192.0.2.7")


def entries(team: Team, action: str = "") -> list[AuditEntry]:
    """The team's audit entries except those of calls, oldest first."""
    of_team = AuditEntry.objects.filter(team=team).exclude(target_type="call").order_by("pk")
    return list(of_team.filter(action=action) if action else of_team)


class Meeting:
    """Holds each caller until `parties` callers are there, or for `seconds`.

    The timeout is for databases that allow only one writing transaction at a time.
    """

    def __init__(self, parties: int = 2, seconds: float = 0.4) -> None:
        self._barrier = threading.Barrier(parties)
        self._seconds = seconds

    def __call__(self) -> None:
        try:
            self._barrier.wait(self._seconds)
        except threading.BrokenBarrierError:
            return


def at_once(*work: Callable[[], T]) -> list[T | Exception]:
    """Start all functions at the same moment, each in a thread with its own database connection.

    Returns what each of them returned or raised.
    """
    start = threading.Barrier(len(work))

    def one(function: Callable[[], T]) -> T | Exception:
        try:
            connection.ensure_connection()
            start.wait(timeout=PATIENCE)
            return function()
        except Exception as error:  # noqa: BLE001 - it is the outcome, and the test looks at it
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(one, work))


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables of `persons` as the database gives them, to compare before and after.

    Not through the ORM, which takes longer to compile the queries than to run them.
    """
    quote = connection.ops.quote_name
    found = {}
    with connection.cursor() as cursor:
        for model in apps.get_app_config("persons").get_models():
            table, key = quote(model._meta.db_table), quote(str(model._meta.pk.column))
            cursor.execute(f"SELECT * FROM {table} ORDER BY {key}")
            found[model.__name__] = cursor.fetchall()
    return found


def in_a_worker_that_may_die(work: Callable[[], object]) -> int:
    """Run `work` in a forked process with its own database connection. Returns its exit status.

    0 is success, 1 an exception, 2 a connection that it shares with this process, -9 a SIGKILL.
    """
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        if connection.connection is not None:
            os._exit(2)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die(asked: object = None) -> None:
    """Kill this process with SIGKILL, as the out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def lease_is_over() -> None:
    """Make every claim older than its lease."""
    long_ago = timezone.now() - timedelta(days=1)
    Photo.objects.exclude(claim="").update(claimed_at=long_ago)
    Person.objects.exclude(claim="").update(claimed_at=long_ago)
    SpaceJob.objects.exclude(claim="").update(claimed_at=long_ago)
    Erasure.objects.exclude(claim="").update(claimed_at=long_ago)
    Call.objects.filter(outcome=Outcome.RUNNING).update(started_at=long_ago)
