"""Legal holds: no user or rule may delete a held person or gallery until an owner releases it.

A hold on a person covers everybody with the same canonical person. A photo is held with its
gallery, which it then can't leave, or if a held person's face is on it.

Decisions on faces can still be changed, and Vision may be told to forget somebody: a hold protects
what is stored here. Code that deletes checks for holds in the transaction that deletes, after
`lock`. Code that sets a hold does the same, so each sees the other's work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from persons.db.locking import locked
from persons.errors import Refused
from persons.faces.identity import names_any_of, people_named_by
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


def lock(team_pk: int) -> None:
    """Lock the team's row, so that none of its holds is set or released until the transaction ends.
    Call it before any other row is locked."""
    locked(Team.objects.filter(pk=team_pk)).get()


# --- People ---


def hold_on_person(person: Person) -> LegalHold | None:
    """The hold in force on anybody with the same canonical person, if there is one."""
    return _holds_on({person.pk}, team_pk=person.space.team_id).get(person.pk)


def on_person(person: Person) -> bool:
    return hold_on_person(person) is not None


def held_people(team: Team | int, *, space: Space | None = None) -> set[int]:
    """The pks of all people of the team, or of one space, whom a hold in force covers."""
    holds = LegalHold.objects.in_force().filter(team=team, person__isnull=False)
    if space is not None:
        holds = holds.filter(person__space=space)
    return _families(set(holds.values_list("person", flat=True)))


def _families(people: Collection[int]) -> set[int]:
    """These people, and all with the same canonical people, by pk."""
    if not people:
        return set()
    canonical = Person.objects.filter(pk__in=people).values("canonical")
    return set(Person.objects.filter(canonical__in=canonical).values_list("pk", flat=True))


def _holds_on(people: Collection[int], *, team_pk: int) -> dict[int, LegalHold]:
    """The holds in force on these people, by the person's pk; only people who are held."""
    rows = LegalHold.objects.in_force().filter(team=team_pk, person__isnull=False)
    rows = rows.select_related("person", "created_by")
    by_canonical = {hold.person.canonical_id: hold for hold in rows if hold.person is not None}
    same = Person.objects.filter(pk__in=people, canonical__in=by_canonical)
    return {pk: by_canonical[who] for pk, who in same.values_list("pk", "canonical")}


# --- Galleries and photos ---


def hold_on_gallery(gallery: Gallery) -> LegalHold | None:
    held = LegalHold.objects.in_force().filter(gallery=gallery)
    return held.select_related("gallery", "created_by").first()


def free_photos(photos: PhotoQuerySet) -> PhotoQuerySet:
    """Those of these photos without a hold, which may be deleted."""
    held = held_condition()
    return photos.exclude(held) if held is not None else photos


def held_photos(photos: PhotoQuerySet) -> PhotoQuerySet:
    """Those of these photos with a hold."""
    held = held_condition()
    return photos.filter(held) if held is not None else photos.none()


def held_condition(prefix: str = "") -> Q | None:
    """The condition that a photo is held; None if there is no hold at all. `prefix` is the lookup
    path from a row to its photo, as in "photo__"."""
    galleries, people = _held()
    found = Q()
    if galleries:
        found |= Q(**{f"{prefix}gallery__in": galleries})
    if people:
        photo = OuterRef(f"{prefix}pk" if not prefix else prefix.removesuffix("__"))
        theirs = Q(person__in=people)
        if coming := people & SpaceJob.objects.people_on_the_way():
            theirs |= names_any_of(coming)
        found |= Q(Exists(Face.everything.filter(theirs, photo=photo)))
    return found or None


def held_recognitions(team: Team | int) -> QuerySet[Recognition] | None:
    """Recognitions of held photos, and requests and answers about held people. None if the team has
    no hold in force."""
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
    recognitions = Recognition.objects.filter(call__team=team)
    return recognitions.alias(text=Cast("result", TextField())).filter(condition).order_by()


def _held() -> tuple[set[int], set[int]]:
    """The pks of galleries and people, of all teams, that holds in force cover. There are few."""
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
    """Raises Refused, with a sentence that names the hold, if any of these is held.

    A space is held if anybody in it is. The caller holds `lock`.
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
    words = {pk for face in faces for pk in people_named_by(face)}
    holds = _holds_on(people, team_pk=team_pk) or _holds_on(words, team_pk=team_pk)
    return next(iter(holds.values()), None)


def sentence(hold: LegalHold, what_holds: str = "Nothing of it is deleted") -> str:
    """A message for users that names the hold. `what_holds` says what is refused."""
    what = hold.person.name if hold.person is not None else f"The gallery {hold.gallery}"
    by = f" by {hold.created_by}" if hold.created_by else ""
    return (
        f"{what} is under legal hold since {hold.created_at:%-d %B %Y}{by} ({hold.reason}). "
        f"{what_holds} until an owner releases the hold."
    )


def forget_released(person: Person) -> None:
    """Delete the released holds on a person who is about to be deleted; the audit still records
    them. Runs in the caller's transaction, after `demand_free`."""
    LegalHold.objects.filter(person=person, released_at__isnull=False).delete()
