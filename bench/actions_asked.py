"""Every action: what people decide of faces, in the review and on pages, and what else they do."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from asking import ACTION_MS, PAGE_MS, Ask, Probe, World
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import QuerySet
from PIL import Image

from persons.actions.changes import undo
from persons.actions.merging import MOST_MOVED
from persons.audit import Actor
from persons.models import (
    Change,
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Likeness,
    Person,
    Photo,
    Review,
    Source,
    SpaceJob,
    User,
)
from persons.pipeline import work

AT_ONCE = 40
"""Faces or photos that are decided on together."""


def actions(world: World) -> Iterator[Probe]:
    yield from _reviewing(world)
    yield from _deciding(world)
    yield from _people(world)
    yield from _photos(world)
    yield from _teams(world)


def deed(name: str, asks: Callable[[], Iterable[Ask]], limit: float = ACTION_MS) -> Probe:
    return Probe(name, asks, limit=limit)


def waiting(world: World, *kinds: Review) -> QuerySet[Face]:
    return world.faces(review__in=kinds or Review.queue(), decision=Decision.NONE)


# --- The review, as its script asks ---


def _reviewing(world: World) -> Iterator[Probe]:
    def key(face: Face, do: str, **more: object) -> Ask:
        """A key pressed on this card, while the next three are on the page already."""
        spaces = [space.pk for space in world.spaces]
        behind = Face.objects.waiting().filter(space__in=spaces, pk__lt=face.pk).order_by("-pk")
        have = list(behind.values_list("pk", flat=True)[:3])
        data: dict[str, Any] = {"do": do, "order": "new", "at": f"0.{face.pk + 1}", "face": face.pk}
        data |= {"have": [f"f{pk}" for pk in have], "behind": f"0.{have[-1]}" if have else ""}
        return Ask(world.url("review"), data | more, part="review")

    unknown, weak = waiting(world, Review.UNKNOWN), waiting(world, Review.WEAK, Review.DOUBLE)
    yield deed(
        "Review: name",
        lambda: [
            key(face, "name", label=label)
            for face, label in zip(world.some(unknown), world.labels(), strict=False)
        ],
    )
    yield deed(
        "Review: name somebody new",
        lambda: [key(face, "name", label=f"New {face.pk}") for face in world.some(unknown)],
    )
    yield deed(
        "Review: name somebody with 50,000 faces",
        lambda: [key(face, "name", label=_star(world).label) for face in world.some(unknown)],
    )

    def judge(do: str) -> Probe:
        return deed(
            f"Review: {do}",
            lambda: [key(face, do, shown=face.person_id) for face in world.some(weak)],
        )

    yield from map(judge, ("confirm", "reject"))
    yield deed("Review: ignore", lambda: [key(face, "ignore") for face in world.some(unknown)])
    yield deed("Review: skip", lambda: [key(face, "skip") for face in world.some(unknown)])
    mine = Change.objects.filter(actor__username=world.who, undone_at=None, space=world.space)
    yield deed(
        "Review: undo",
        lambda: [
            Ask(world.url("review"), {"do": "undo", "done": f"c{one.pk}", "order": "new"}, "review")
            for one in mine.exclude(kind="merge").order_by("-pk")[: world.count]
        ],
    )
    yield deed(
        "Review: keep what is on the page",
        lambda: [
            Ask(world.url("review_keep"), {"face": [face.pk]}) for face in world.some(unknown)
        ],
    )
    pairs = Likeness.objects.filter(space=world.space, decision="").select_related("one", "other")
    yield deed(
        "Review: not the same person",
        lambda: [
            Ask(world.url("review"), {"do": "different", "pair": one.pk, "order": "new"}, "review")
            for one in world.some(pairs)
        ],
    )
    parted = pairs.filter(one__merged_into=None, other__merged_into=None)

    def same(name: str, some: QuerySet[Likeness]) -> Probe:
        return deed(
            f"Review: the same person, {name}",
            lambda: [
                Ask(world.url("review"), {"do": "same", "pair": one.pk, "order": "new"}, "review")
                for one in world.some(some)
            ],
        )

    yield same("few faces", parted.filter(one__face_count__lte=MOST_MOVED))
    yield same("many faces", parted.filter(one__face_count__gt=MOST_MOVED))
    merges = mine.filter(kind="merge").order_by("-pk")

    def same_undone(name: str, some: QuerySet[Change]) -> Probe:
        def asks() -> Iterator[Ask]:
            _follow()
            for one in some[: world.count]:
                data = {"do": "undo", "done": f"c{one.pk}", "order": "new"}
                yield Ask(world.url("review"), data, "review")

        return deed(f"Review: undo that they are the same, {name}", asks)

    yield same_undone("few faces", merges.filter(face_count__lte=MOST_MOVED))
    yield same_undone("many faces", merges.filter(face_count__gt=MOST_MOVED))
    yield deed(
        "Review: 40 suggestions of a person at once",
        lambda: [
            Ask(world.url("review_person", 0, person.person_id), {"face": pks, "yes": pks})
            for person in _suggested(world)
            if (pks := _faces_of(person, review__in=[Review.WEAK, Review.DOUBLE]))
        ],
        limit=PAGE_MS,
    )


def _follow() -> None:
    """What a worker does after merges."""
    for job in SpaceJob.objects.filter(kind=SpaceJob.Kind.PROPAGATE).under_way():
        while work(job.pk).jobs:
            pass


def _star(world: World) -> Person:
    return world.people().get(person_id=1)


def _suggested(world: World) -> list[Person]:
    return list(world.people().order_by("-face_count")[1 : world.count + 1])


def _faces_of(person: Person, **kind: object) -> list[int]:
    faces = Face.objects.filter(person=person, **kind).order_by("-pk")
    return list(faces.values_list("pk", flat=True)[:AT_ONCE])


# --- On a photo and on a person's page ---


def _deciding(world: World) -> Iterator[Probe]:
    def of_face(name: str, faces: QuerySet[Face], **data: object) -> Callable[[], list[Ask]]:
        return lambda: [
            Ask(world.url(name, face.pk), {"person": face.person_id or "", **data}, part="faces")
            for face in world.some(faces)
        ]

    unknown = waiting(world, Review.UNKNOWN)
    found = world.faces(review="", decision="", person__isnull=False)
    yield deed(
        "Photo: name a face",
        lambda: [
            Ask(world.url("face_name", face.pk), {"label": label}, part="faces")
            for face, label in zip(world.some(unknown), world.labels(), strict=False)
        ],
    )
    yield deed("Photo: confirm", of_face("face_confirm", waiting(world, Review.WEAK)))
    yield deed("Photo: not this person", of_face("face_reject", found))
    yield deed("Photo: ignore", of_face("face_ignore", unknown))
    yield deed(
        "Photo: take a decision back", of_face("face_clear", world.faces(decision=Decision.NAMED))
    )
    yield deed(
        "Photo: draw a face",
        lambda: [
            Ask(
                world.url("draw_face", photo.pk),
                {"left": 1000, "top": 2000, "right": 1300, "bottom": 2300, "label": ""},
                part="faces",
            )
            for photo in world.some(world.archive())
        ],
    )

    def of_forty(do: str) -> Probe:
        return deed(
            f"Person: {do} 40 faces",
            lambda: [
                Ask(world.url("person_faces", 0, one.person_id), {"do": do, "face": pks}, "view")
                for one in _suggested(world)
                if (pks := _faces_of(one, decision="", review=""))
            ],
            limit=PAGE_MS,
        )

    yield from map(of_forty, ("confirm", "reject", "ignore"))


# --- People ---


def _people(world: World) -> Iterator[Probe]:
    people = world.people().exclude(person_id=1).order_by()

    def of_person(name: str, **data: object) -> Callable[[], list[Ask]]:
        return lambda: [
            Ask(
                world.url(name, 0, one.person_id),
                {key: str(value).format(one.pk) for key, value in data.items()},
            )
            for one in world.some(people)
        ]

    yield deed("Rename a person", of_person("person_rename", label="Renamed {}"))
    yield deed("Write notes", of_person("person_notes", notes="Met in {}"))
    yield deed("Hide a person", of_person("person_hide", hidden="1"))
    few = people.filter(face_count__lt=200)

    def merging(name: str, some: QuerySet[Person]) -> Probe:
        return deed(
            f"Merge two people, {name}",
            lambda: [
                Ask(
                    world.url("person_merge", 0, one.person_id),
                    {"with": other.person_id, "keep": one.person_id},
                )
                for one, other in _pairs(world.some(some))
            ],
            limit=PAGE_MS,
        )

    yield merging("few faces", people.filter(face_count__lte=MOST_MOVED))
    yield merging("many faces", people.filter(face_count__gt=MOST_MOVED, face_count__lt=200))
    yield deed("Merge 50,000 faces", lambda: _merging_the_star(world), limit=PAGE_MS)
    yield deed(
        "Split a person",
        lambda: [
            Ask(
                world.url("person_split", 0, one.person_id),
                {"face": pks[:5], "label": f"Split {one.pk}", "sure": "1"},
            )
            for one in world.some(few.filter(face_count__gt=10))
            if (pks := _faces_of(one))
        ],
        limit=PAGE_MS,
    )
    mine = Change.objects.filter(actor__username=world.who, undone_at=None, space=world.space)

    def taken_back(name: str, **which: object) -> Probe:
        def asks() -> Iterator[Ask]:
            _follow()
            own = mine.filter(**which).order_by("-pk")[: world.count]
            yield from [Ask(world.url("change_undo", one.pk), {}) for one in own]

        return deed(f"Undo a {name}", asks, limit=PAGE_MS)

    yield taken_back("merge of few faces", kind="merge", face_count__lte=MOST_MOVED)
    yield taken_back("merge of many faces", kind="merge", face_count__gt=MOST_MOVED)
    yield taken_back("split", kind="split")
    enrolments = Enrolment.objects.filter(person__space=world.space, state=EnrolmentState.DONE)
    yield deed(
        "Take an enrolment back",
        lambda: [Ask(world.url("enrolment_remove", one.pk), {}) for one in world.some(enrolments)],
    )


def _merging_the_star(world: World) -> Iterator[Ask]:
    """Each time into somebody else; it is undone in between, before its faces have followed."""
    actor = Actor(User.objects.get(username=world.who), Source.PAGE)
    star = _star(world)
    for one in world.some(world.people().exclude(pk=star.pk)):
        data = {"with": one.person_id, "keep": one.person_id}
        yield Ask(world.url("person_merge", 0, star.person_id), data)
        undo(actor=actor, change=Change.objects.filter(person=star, kind="merge").latest("pk"))


def _pairs(people: list[Person]) -> list[tuple[Person, Person]]:
    return list(zip(people[::2], people[1::2], strict=False))


# --- Photos and galleries ---


def _photos(world: World) -> Iterator[Probe]:
    def with_photos(name: str, photos: QuerySet[Photo], **data: object) -> Callable[[], list[Ask]]:
        return lambda: [
            Ask(world.url(name, "archive"), {"photo": pks, **data})
            for first in world.some(photos)
            if (
                pks := list(
                    photos.filter(pk__gte=first.pk)
                    .order_by("pk")
                    .values_list("pk", flat=True)[:AT_ONCE]
                )
            )
        ]

    archive = world.archive()
    small = world.galleries().exclude(pk=1)
    yield deed(
        "Rename a gallery",
        lambda: [
            Ask(world.url("rename_gallery", one.slug), {"name": f"Walk {one.pk}"})
            for one in world.some(small)
        ],
    )
    yield deed(
        "Recognise a photo again",
        lambda: [Ask(world.url("recognise_photo", one.pk), {}) for one in world.some(archive)],
    )
    yield deed("Recognise 40 photos again", with_photos("photos_recognise", archive), PAGE_MS)
    yield deed("Move 40 photos", with_photos("photos_move", archive, gallery="event-2"), PAGE_MS)
    yield deed("Throw 40 photos away", with_photos("photos_trash", archive), PAGE_MS)
    yield deed(
        "Take photos back from the trash",
        lambda: [
            Ask(world.url("trash_restore"), {"photo": [one.pk]})
            for one in world.some(Photo.everything.filter(gallery=1).exclude(trashed_at=None))
        ],
    )
    yield deed(
        "Upload a photo",
        lambda: [
            Ask(
                world.url("upload", "archive"),
                {"files": SimpleUploadedFile(f"{n}.jpg", _jpeg(n), "image/jpeg")},
            )
            for n in range(world.count)
        ],
        limit=PAGE_MS,
    )


def _jpeg(number: int) -> bytes:
    out = io.BytesIO()
    image = Image.new("RGB", (640, 480), (number, 90, 90))
    image.save(out, "JPEG", comment=f"bench {number}")
    return out.getvalue()


# --- The team ---


def _teams(world: World) -> Iterator[Probe]:
    def numbered(route: str, *args: object, **data: object) -> Callable[[], list[Ask]]:
        return lambda: [
            Ask(
                world.url(route, *args),
                {
                    key: value.format(n) if isinstance(value, str) else value
                    for key, value in data.items()
                },
            )
            for n in range(world.count)
        ]

    yield deed(
        "Name a space",
        numbered(
            "space", 2, name="Guests {}", threshold="0.4", confirm_threshold="0.5", searcher="0"
        ),
    )
    yield deed("Make an API key", numbered("make_key", name="Gate {}", methods=["recognize"]))
    yield deed("Invite somebody", numbered("invite", email="new{}@example.org", role="viewer"))
