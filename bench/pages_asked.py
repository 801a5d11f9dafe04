"""Every page, the parts of pages that are fetched, and the lists of the REST API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import mul
from typing import Any

from asking import ACTION_MS, GALLERY_BYTES, Ask, Probe, World
from django.db.models import QuerySet
from django.urls import reverse

from dashboard.pages.people.people import SORTS
from persons.inputs.paging import EPOCH, MICROSECOND, key_of
from persons.models import Grouping, Person, Photo, Review, SpaceJob

Asks = Callable[[], list[Ask]]


class Ways:
    """Lists of requests, of which probes are made."""

    def __init__(self, world: World) -> None:
        self.world = world

    def same(self, name: str, *args: object, part: str | None = None, **query: object) -> Asks:
        """One address again and again."""
        return lambda: [Ask(self.world.url(name, *args, **query), part=part)] * self.world.count

    def each(
        self, name: str, rows: QuerySet[Any], key: str = "pk", part: str | None = None, **query: Any
    ) -> Asks:
        """The pages of rows drawn by chance."""
        return lambda: [
            Ask(self.world.url(name, getattr(row, key), **query), part=part)
            for row in self.world.some(rows)
        ]

    def person(
        self, name: str, rows: QuerySet[Person], part: str | None = None, **query: object
    ) -> Asks:
        return lambda: [
            Ask(self.world.url(name, row.space.number, row.person_id, **query), part=part)
            for row in self.world.some(rows.select_related("space"))
        ]

    def beyond(
        self,
        name: str,
        rows: QuerySet[Any],
        *args: object,
        key: Callable[[Any], object] = lambda row: row.pk,
        param: str = "before",
        **query: object,
    ) -> Asks:
        """The pages of a list that begin behind rows drawn by chance."""
        return lambda: [
            Ask(self.world.url(name, *args, **{param: key(row)}, **query))
            for row in self.world.some(rows)
        ]


def pages(world: World) -> Iterator[Probe]:
    ways = Ways(world)
    yield Probe("Overview", ways.same("overview"))
    yield Probe("Galleries", ways.same("galleries"))
    yield Probe("Galleries, further on", ways.beyond("galleries", world.galleries()))
    yield Probe("New gallery", ways.same("new_gallery"))
    yield from _grid(world, ways)
    yield Probe("Trash", ways.same("trash"))
    yield Probe("Photo", ways.each("photo", world.photos()))
    yield Probe(
        "Photo, 30 faces and more", ways.each("photo", world.photos().filter(face_count__gte=30))
    )
    unknown = world.archive().filter(unknown_count__gt=0)
    yield Probe("Photo, among unknown", ways.each("photo", unknown, show="unknown"))
    yield from _people(world, ways)
    yield from _review(world, ways)
    yield from _spaces(world, ways)
    yield from _records(world, ways)


def _grid(world: World, ways: Ways) -> Iterator[Probe]:
    def probe(name: str, asks: Asks) -> Probe:
        return Probe(name, asks, most_bytes=GALLERY_BYTES)

    def place(photo: Photo) -> str:
        return f"{(photo.shown_at - EPOCH) // MICROSECOND}.{photo.pk}"

    def beyond(photos: QuerySet[Photo], **query: Any) -> Asks:
        return ways.beyond("gallery", photos, "archive", key=place, **query)

    archive = world.archive()
    yield probe("Big gallery", ways.same("gallery", "archive"))
    yield probe("Big gallery, further on", beyond(archive))
    yield probe(
        "Big gallery, by upload", ways.beyond("gallery", archive, "archive", sort="uploaded")
    )
    yield probe(
        "Big gallery, unknown faces", beyond(archive.filter(unknown_count__gt=0), show="unknown")
    )
    yield probe("Big gallery, failed", beyond(archive, show="failed"))
    yield probe("Big gallery, no faces", beyond(archive, show="none"))
    yield probe("Big gallery, by an uploader", beyond(archive, by=3))
    yield probe("Big gallery, of 50,000 faces' person", beyond(archive, person=1))
    yield probe("Big gallery, of two people", beyond(archive, person=[1, 2]))
    yield probe(
        "Big gallery, of anybody",
        lambda: [
            Ask(world.url("gallery", "archive", person=one.person_id))
            for one in world.some(world.people())
        ],
    )
    yield probe(
        "Small galleries", ways.each("gallery", world.galleries().exclude(pk=1), key="slug")
    )


def _people(world: World, ways: Ways) -> Iterator[Probe]:
    people = world.people()
    for sort in SORTS:
        yield Probe(f"People, by {sort}", ways.same("people", sort=sort))
        further = ways.beyond("people", people, key=partial(_key, SORTS[sort]), sort=sort)
        yield Probe(f"People, by {sort}, further on", further)
    yield Probe("People of a space", ways.same("people", space=0))
    yield Probe(
        "People, searched", lambda: [Ask(world.url("people", q=word)) for word in world.words()]
    )
    yield Probe("People without a name", ways.same("people", show="unnamed"))
    for view in ("faces", "photos", "enrolments", "changes"):
        yield Probe(f"Person with 50,000 faces: {view}", ways.same("person", 0, 1, view=view))
        yield Probe(f"Person: {view}", ways.person("person", people, view=view))
    yield Probe("Person with 50,000 faces: not from memory", ways.same("person", 0, 1), fresh=True)
    yield Probe(
        "Person with 50,000 faces: further on",
        ways.beyond("person", world.faces(person=1), 0, 1),
    )
    yield Probe("Person with 50,000 faces: least sure", ways.same("person", 0, 1, sort="unsure"))
    yield Probe(
        "Preview of merging with 50,000 faces",
        lambda: [
            Ask(world.url("person_merge", 0, one.person_id, **{"with": 1}))
            for one in world.some(people.exclude(person_id=1))
        ],
    )


def _key(order: Sequence[str], person: Person) -> str:
    return key_of(person, order)


def _review(world: World, ways: Ways) -> Iterator[Probe]:
    waiting = world.faces(review=Review.UNKNOWN)
    yield Probe("Review", ways.same("review", order="new"))
    yield Probe(
        "Review, further on",
        ways.beyond("review", waiting, key=lambda row: f"0.{row.pk}", param="at"),
    )
    yield Probe("Review, least sure first", ways.same("review", order="unsure"))
    yield Probe(
        "Review, least sure first, further on",
        ways.beyond(
            "review",
            waiting,
            key=lambda row: f"{round(row.review_rank * 1_000_000)}.{row.pk}",
            param="at",
            order="unsure",
        ),
    )
    yield Probe("Review of the big gallery", ways.same("review", gallery="archive"))
    yield Probe("Review of weak matches", ways.same("review", kind="weak"))
    yield Probe("Review of people who may be one", ways.same("review", kind="alike"))
    yield Probe("Suggestions by person", ways.same("review_many"))
    yield Probe("Suggestions of 50,000 faces' person", ways.same("review_person", 0, 1))
    yield Probe("Suggestions of a person", ways.person("review_person", world.people()))
    groups = Person.objects.filter(space=world.space, grouping__isnull=False)
    yield Probe("Groups", ways.same("groups"))
    yield Probe("Group", ways.person("group", groups))
    ready = Grouping.objects.filter(space=world.space, state="ready")
    yield Probe("Groups to be made", ways.each("grouping", ready))


def _spaces(world: World, ways: Ways) -> Iterator[Probe]:
    yield Probe("Spaces", ways.same("spaces"))
    yield Probe("Space with 11,000 people", ways.same("space", 0))
    for view in ("people", "policy", "snapshots"):
        yield Probe(f"Space: {view}", ways.same("space", 0, view=view))
    yield Probe("Space to be truncated", ways.same("space_truncate", 0))
    jobs = SpaceJob.objects.filter(space=world.space)
    yield Probe(
        "Restoring a snapshot",
        lambda: [Ask(world.url("snapshot_restore", 0, job.pk)) for job in jobs] * world.count,
    )


def _records(world: World, ways: Ways) -> Iterator[Probe]:
    calls, entries = world.calls(), world.entries()
    yield Probe("History", ways.same("history"))
    yield Probe("History, further on", ways.beyond("history", calls))
    yield Probe("History of a key", ways.same("history", key=1))
    yield Probe("History of a space that has little", ways.same("history", space=2))
    yield Probe("History, failures", ways.same("history", outcome="temporary"))
    yield Probe("History, what there is none of", ways.same("history", method="truncate"))
    yield Probe("Call", ways.each("call", calls))
    yield Probe("Call with 60 images", ways.each("call", calls.filter(image_count=60)))
    yield Probe("Call with 60 images, raw", ways.each("call_answer", calls.filter(image_count=60)))
    yield Probe("Audit log", ways.same("audit"))
    yield Probe("Audit log, further on", ways.beyond("audit", entries))
    yield Probe("Audit log, what somebody did", ways.same("audit", actor=3))
    yield Probe("Audit log, what nobody did", ways.same("audit", action="key.revoke"))
    for name in ("members", "api_keys", "usage", "connection"):
        yield Probe(name.replace("_", " ").capitalize(), ways.same(name))


# --- What htmx and the browser fetch ---


def parts(world: World) -> Iterator[Probe]:
    ways = Ways(world)
    people = world.people()
    yield Probe("Work in progress", ways.same("overview_work", part="work"))
    busy = [
        f"{pk}.queued.0"
        for pk in world.archive().filter(state="queued").values_list("pk", flat=True)[:20]
    ]
    yield Probe(
        "Tiles that are busy", ways.same("gallery_tiles", "archive", busy=busy, part="tiles")
    )
    yield Probe("Months of the big gallery", ways.same("gallery_dates", "archive", part="dates"))
    yield Probe(
        "Months of the big gallery, not from memory",
        ways.same("gallery_dates", "archive", part="dates"),
        fresh=True,
    )
    yield Probe(
        "What asking all again would cost", ways.same("gallery_again", "archive", part="again")
    )
    yield Probe("5,000 photos to select", ways.same("gallery_range", "archive"))
    yield Probe("Photo, live", ways.each("photo_live", world.photos(), part="live"))
    yield Probe("Photo's facts", ways.each("photo_facts", world.photos(), part="facts"))
    yield Probe("Names while one types", partial(_typing, world), limit=ACTION_MS)
    yield Probe(
        "Who is seen with 50,000 faces' person",
        ways.same("person_company", 0, 1, part="company"),
        fresh=True,
    )
    yield Probe(
        "When 50,000 faces' person was seen, not from memory",
        ways.same("person_company", 0, 1, part="seen", seen=1),
        fresh=True,
    )
    yield Probe("Who is seen with somebody", ways.person("person_company", people, part="company"))
    yield Probe(
        "Bars of a policy, not from memory",
        ways.same("space_zones", 0, part="zones"),
        fresh=True,
        limit=None,
    )
    yield Probe(
        "A photo's file",
        lambda: [
            Ask(world.url("media_photo", row.pk, "thumb")) for row in world.some(world.photos())
        ],
    )
    yield Probe("A face's crop", ways.each("media_face", world.faces()))
    for name in ("healthz", "readyz", "metrics"):
        yield Probe(f"/{name}", partial(mul, [Ask(reverse(name))], world.count))


def _typing(world: World) -> list[Ask]:
    unknown = world.some(world.faces(review=Review.UNKNOWN))
    return [
        Ask(world.url("face_names", face.pk, label=word), part="names")
        for face, word in zip(unknown, world.words(), strict=False)
    ]


# --- REST ---


def rest(world: World) -> Iterator[Probe]:
    ways = Ways(world)
    lists: list[tuple[str, QuerySet[Any] | None, tuple[object, ...]]] = [
        ("galleries", world.galleries(), ()),
        ("photos", world.archive(), ("archive",)),
        ("people", world.people(), (0,)),
        ("calls", world.calls(), ()),
        ("audit", world.entries(), ()),
        ("enrolments", None, (0, 1)),
        ("members", None, ()),
        ("spaces", None, ()),
    ]
    for name, rows, args in lists:
        yield Probe(f"REST: {name}", ways.same(f"rest:{name}", *args))
        if rows is not None:
            beyond = ways.beyond(f"rest:{name}", rows, *args, param="cursor")
            yield Probe(f"REST: {name}, further on", beyond)
    yield Probe("REST: space", ways.same("rest:space", 0))
    yield Probe("REST: gallery", ways.same("rest:gallery", "archive"))
    yield Probe("REST: person", ways.same("rest:person", 0, 1))
    yield Probe("REST: photo", ways.each("rest:photo", world.photos()))
    yield Probe("REST: call", ways.each("rest:call", world.calls()))
