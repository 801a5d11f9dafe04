"""Legal hold: what may not be deleted, by nobody and by no rule, until an owner releases it.

A hold on somebody counts for whom they were merged into, and for all who were merged into that one:
they are the same human. A photo is held with its gallery, or if a held person's face is on it.

Decisions on faces stay changeable, and Vision may be told to forget somebody: a hold keeps what is
stored here. Whoever deletes asks first, in the transaction that deletes, after `lock`; so does
whoever sets a hold, and either sees the other's work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from persons.errors import Refused
from persons.locking import locked
from persons.models import (
    Face,
    Gallery,
    LegalHold,
    Person,
    Recognition,
    Space,
    SpaceJob,
    Team,
)
from persons.models.galleries import PhotoQuerySet
from persons.settling import raw_words, roots_of, words_on


def lock(team_pk: int) -> None:
    """Before any other row: no hold of the team is set or released until the transaction ends."""
    locked(Team.objects.filter(pk=team_pk)).get()


# --- People ---


def hold_on_person(person: Person) -> LegalHold | None:
    """The hold in force on them, or on anybody who is the same human."""
    return _holds_on({person.pk}, team_pk=person.space.team_id).get(person.pk)


def on_person(person: Person) -> bool:
    return hold_on_person(person) is not None


def held_people(team: Team | int, *, space: Space | None = None) -> set[int]:
    """Everybody of the team, by pk, whom a hold in force counts for. With `space`, of that one."""
    holds = LegalHold.objects.in_force().filter(team=team, person__isnull=False)
    if space is not None:
        holds = holds.filter(person__space=space)
    return _families(set(holds.values_list("person", flat=True)))


def _families(people: Collection[int]) -> set[int]:
    """With these people all who are merged into one person with them."""
    if not people:
        return set()
    found: set[int] = set()
    newest = set(roots_of(people).values())
    while newest:
        found |= newest
        merged = Person.objects.filter(merged_into__in=newest).values_list("pk", flat=True)
        newest = set(merged) - found
    return found


def _holds_on(people: Collection[int], *, team_pk: int) -> dict[int, LegalHold]:
    """The hold on each of these people, by their pk, where there is one."""
    rows = LegalHold.objects.in_force().filter(team=team_pk, person__isnull=False)
    holds = {hold.person_id: hold for hold in rows.select_related("person", "created_by")}
    if not holds:
        return {}
    roots = roots_of({*people, *(pk for pk in holds if pk is not None)})
    by_root = {roots[pk]: hold for pk, hold in holds.items() if pk is not None}
    return {pk: by_root[roots[pk]] for pk in people if roots[pk] in by_root}


# --- Galleries and photos ---


def hold_on_gallery(gallery: Gallery) -> LegalHold | None:
    held = LegalHold.objects.in_force().filter(gallery=gallery)
    return held.select_related("gallery", "created_by").first()


def free_photos(photos: PhotoQuerySet) -> PhotoQuerySet:
    """Those of these photos that no hold is on: what may be deleted."""
    held = held_condition()
    return photos.exclude(held) if held is not None else photos


def held_photos(photos: PhotoQuerySet) -> PhotoQuerySet:
    """Those of these photos that a hold is on."""
    held = held_condition()
    return photos.filter(held) if held is not None else photos.none()


def held_condition(prefix: str = "") -> Q | None:
    """What is true of a photo that a hold is on; None where there is no hold at all. `prefix` leads
    from a row to its photo, as in "photo__"."""
    galleries, people = _held()
    found = Q()
    if galleries:
        found |= Q(**{f"{prefix}gallery__in": galleries})
    if people:
        photo = OuterRef(f"{prefix}pk" if not prefix else prefix.removesuffix("__"))
        theirs = Q(person__in=people)
        if coming := people & SpaceJob.objects.people_on_the_way():
            theirs |= words_on(coming)
        found |= Q(Exists(Face.everything.filter(theirs, photo=photo)))
    return found or None


def held_recognitions(team: Team | int) -> QuerySet[Recognition] | None:
    """What Vision was asked about held photos, or answered of held people; None without a hold."""
    people = Person.objects.filter(pk__in=held_people(team))
    ids: dict[int, list[int]] = defaultdict(list)
    for space, person_id in people.values_list("space", "person_id"):
        ids[space].append(person_id)
    condition = held_condition("photo__") or Q(pk__in=[])
    for space, person_ids in ids.items():
        theirs = Q(person_id__in=person_ids) | Q(findings__told_id__in=person_ids)
        for person_id in person_ids:
            theirs |= Q(text__contains=f'"person{person_id}"')
        condition |= Q(call__space=space) & theirs
    if not LegalHold.objects.in_force().filter(team=team).exists():
        return None
    told = Recognition.objects.filter(call__team=team)
    return told.alias(text=Cast("result", TextField())).filter(condition).order_by()


def _held() -> tuple[set[int], set[int]]:
    """Galleries and people that a hold in force counts for: there are few of them."""
    rows = LegalHold.objects.in_force().values_list("gallery", "person")
    found: dict[str, set[int]] = defaultdict(set)
    for gallery, person in rows:
        if gallery is not None:
            found["galleries"].add(gallery)
        if person is not None:
            found["people"].add(person)
    return found["galleries"], _families(found["people"])


# --- Refusals ---


def demand_free(
    *,
    person: Person | None = None,
    gallery: Gallery | None = None,
    space: Space | None = None,
    photos: PhotoQuerySet | None = None,
) -> None:
    """Raises Refused, with a sentence that names the hold, where one is on any of these.

    A space counts as held where anybody in it is. The caller holds `lock`.
    """
    hold = None
    if person is not None:
        hold = hold_on_person(person)
    if hold is None and gallery is not None:
        hold = hold_on_gallery(gallery)
    if hold is None and space is not None:
        rows = LegalHold.objects.in_force().filter(person__space=space)
        hold = rows.select_related("person", "created_by").first()
    if hold is None and photos is not None:
        photo = held_photos(photos).select_related("gallery").first()
        if photo is not None:
            hold = hold_on_gallery(photo.gallery) or _hold_by_faces(photo.pk, photo.gallery.team_id)
    if hold is not None:
        raise Refused(sentence(hold))


def _hold_by_faces(photo_pk: int, team_pk: int) -> LegalHold | None:
    faces = list(Face.everything.filter(photo=photo_pk))
    people = {face.person_id for face in faces if face.person_id is not None}
    words = {pk for face in faces for pk in raw_words(face)}
    holds = _holds_on(people, team_pk=team_pk) or _holds_on(words, team_pk=team_pk)
    return next(iter(holds.values()), None)


def sentence(hold: LegalHold) -> str:
    """Which hold it is, for whoever is refused."""
    what = hold.person.name if hold.person is not None else f"The gallery {hold.gallery}"
    by = f" by {hold.created_by}" if hold.created_by else ""
    return (
        f"{what} is under legal hold since {hold.created_at:%-d %B %Y}{by} ({hold.reason}). "
        "Nothing of it is deleted until an owner releases the hold."
    )


def forget_released(person: Person) -> None:
    """Holds on somebody who is about to be deleted: what was is in the audit. In the caller's
    transaction, after `demand_free`."""
    LegalHold.objects.filter(person=person, released_at__isnull=False).delete()
