"""Identity resolution: who each face of a photo is, and whether it needs review. Nothing else does
it.

Up to three sources name a person on a face: a human's decision, the engine's result and a grouping.
Their columns keep the person named at the time; the face belongs to that person's canonical person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from persons.db.locking import locked
from persons.db.tables import Table, save
from persons.models import Decision, Face, Person, Photo, Rejection, Review, Space
from persons.models.faces import FaceQuerySet
from persons.models.people import PersonQuerySet

RESOLVED = ["person_id", "review", "review_rank", "space_id"]
FACES, PHOTOS, PEOPLE = Table(Face), Table(Photo), Table(Person)

WORDS = ("found_person", "grouped_person", "decision", "decided_person")
READ_COLUMNS = ("photo", "missing", "trashed", "similarity", *WORDS)
"""Columns that identity resolution reads."""
COUNTED = ("face_count", "unknown_count")
THRESHOLDS = ("gallery__space__threshold", "gallery__space__confirm_threshold")

DOUBLE_RANK = 0.9
"""If two faces of a photo are the same person, one of them is nearly always wrong."""

AT_ONCE = 500
"""Photos resolved in one transaction."""


@transaction.atomic(savepoint=False)
def resolve_identities(photo_pks: Iterable[int]) -> None:
    """Set `person`, `review` and `review_rank` of all faces of these photos, and the photos'
    counts.

    Call it in the transaction that changed the faces or their photos' gallery. Locks the photos,
    then their faces; trashed ones are resolved too. Seven queries, however many photos.
    """
    wanted = Photo.everything.filter(pk__in=sorted(set(photo_pks)))
    photos = list(locked(wanted.select_related("gallery__space").only(*COUNTED, *THRESHOLDS)))
    faces: dict[int, list[Face]] = defaultdict(list)
    rows = Face.everything.filter(photo__in=[photo.pk for photo in photos])
    for face in locked(rows.only(*READ_COLUMNS, *RESOLVED)):
        faces[face.photo_id].append(face)
    everybody = [face for some in faces.values() for face in some]
    rejected = _rejected(everybody)
    named = {pk for face in everybody for pk in people_named_by(face)}
    canonical = dict(Person.objects.filter(pk__in=named).values_list("pk", "canonical"))
    changed_faces, changed_photos = [], []
    for photo in photos:
        some = faces[photo.pk]
        space = photo.gallery.space
        before = [_resolved(face) for face in some]
        for face in some:
            face.space_id = space.pk
        _resolve(some, space, rejected, canonical)
        changed_faces += [
            face for face, old in zip(some, before, strict=True) if old != _resolved(face)
        ]
        present = [face for face in some if not face.missing]
        counts = (len(present), sum(map(is_unknown, present)))
        if counts != (photo.face_count, photo.unknown_count):
            photo.face_count, photo.unknown_count = counts
            changed_photos.append(photo)
    save(FACES, changed_faces, RESOLVED)
    save(PHOTOS, changed_photos, COUNTED)


def _resolved(face: Face) -> tuple[object, ...]:
    return (face.person_id, face.review, face.review_rank, face.space_id)


def resolve_person(person_pk: int) -> None:
    """Resolve faces that concurrent decisions left behind while the person was merged or parted.

    That is, for the person's canonical person: faces still of a merged person, faces that no source
    gives to the family any more, and photos with several faces of the person. Runs in transactions
    of its own.
    """
    rows = Person.objects.filter(canonical__family=person_pk).values_list("pk", "canonical")
    family, canonical = {pk for pk, _ in rows}, {pk for _, pk in rows}
    late = Q(person__in=family - canonical) | Q(person__in=canonical) & ~names_any_of(family)
    photos = set(Face.everything.filter(late).values_list("photo", flat=True))
    for pk in canonical:
        photos |= photos_with_several(pk)
    resolve_in_batches(photos)
    count_faces(Person.objects.filter(pk__in=family))


def enqueue_resolution(person_pk: int) -> None:
    """Enqueue `resolve_person` for a worker, in the caller's transaction."""
    Person.objects.filter(pk=person_pk).update(identity_due_at=timezone.now())


def resolve_due(person_pk: int) -> None:
    """`resolve_person`, if it is due. Safe to run twice at once.

    It stays due if the worker dies, or if it was enqueued again meanwhile.
    """
    person = Person.objects.filter(pk=person_pk)
    asked = person.values_list("identity_due_at", flat=True).first()
    if asked is not None:
        resolve_person(person_pk)
        person.filter(identity_due_at=asked).update(identity_due_at=None)


def names_any_of(people: Collection[int]) -> Q:
    """Faces on which any source names one of these people, before mapping to canonical persons."""
    words = Q(decided_person__in=people) | Q(found_person__in=people)
    return words | Q(grouped_person__in=people)


def resolve_merged() -> None:
    """Resolve faces still of a merged person, which a decision concurrent with the merge left
    behind."""
    late = Face.everything.filter(person__merged_into__isnull=False)
    resolve_in_batches(set(late.values_list("photo", flat=True)[:AT_ONCE]))


def resolve_in_batches(photo_pks: Collection[int]) -> None:
    """Resolve any number of photos, AT_ONCE per transaction, unless the caller has one open."""
    in_order = sorted(photo_pks)
    for start in range(0, len(in_order), AT_ONCE):
        with transaction.atomic():
            resolve_identities(in_order[start : start + AT_ONCE])


def photos_with_several(person_pk: int, *, among: FaceQuerySet | None = None) -> set[int]:
    """Photos with more than one face of a person; with `among`, only photos of those faces."""
    theirs = Face.everything.filter(person=person_pk, missing=False)
    if among is not None:
        theirs = theirs.filter(photo__in=among.order_by().values("photo"))
    counted = theirs.order_by().values("photo").annotate(n=Count("pk")).filter(n__gt=1)
    return set(counted.values_list("photo", flat=True))


def count_faces(people: PersonQuerySet) -> None:
    """Refresh `face_count` of these people, by which lists are sorted.

    People locked by others are left for the next time, so that nobody waits for this.
    """
    faces = Face.objects.filter(person__in=people).order_by().values("person")
    counts = dict(faces.annotate(n=Count("pk")).values_list("person", "n"))
    stale = [pk for pk, n in people.values_list("pk", "face_count") if counts.get(pk, 0) != n]
    if not stale:
        return
    with transaction.atomic():
        free = Person.objects.select_for_update(skip_locked=True, no_key=True, of=("self",))
        found = list(free.filter(pk__in=stale).only("pk", "face_count").order_by("pk"))
        for person in found:
            person.face_count = counts.get(person.pk, 0)
        save(PEOPLE, found, ["face_count"])


def is_unknown(face: Face) -> bool:
    """Whether the face waits for a name: no person, no human decision, and not missing."""
    return face.person_id is None and face.decision == Decision.NONE and not face.missing


def of_one(faces: Collection[Face], person_pk: int) -> list[Face]:
    """Those of these faces that are the person's, including faces a merge has not reached yet."""
    shown = {face.person_id for face in faces if face.person_id}
    same = Person.objects.filter(pk__in=shown, canonical__family=person_pk)
    pks = set(same.values_list("pk", flat=True))
    return [face for face in faces if face.person_id in pks]


def _resolve(
    faces: Sequence[Face],
    space: Space,
    rejected: dict[int, set[int]],
    canonical: dict[int, int],
) -> None:
    for face in faces:
        face.person_id = _who(face, rejected.get(face.pk, set()), canonical)
    seen: dict[int, Face] = {}
    for face in sorted(faces, key=_surest_first):
        face.review, face.review_rank = _review(face, space)
        if face.missing or face.person_id is None:
            continue
        if face.person_id in seen and face.decision == Decision.NONE and not face.trashed:
            face.review, face.review_rank = Review.DOUBLE, DOUBLE_RANK
        seen.setdefault(face.person_id, face)


def _who(face: Face, not_them: set[int], canonical: dict[int, int]) -> int | None:
    if face.decision == Decision.NAMED:
        return canonical[face.decided_person_id] if face.decided_person_id is not None else None
    if face.decision in (Decision.IGNORED, Decision.ERASED):
        return None
    for pk in (face.found_person_id, face.grouped_person_id):
        if pk is not None and canonical[pk] not in not_them:
            return canonical[pk]
    return None


def _review(face: Face, space: Space) -> tuple[Review, float]:
    if face.missing or face.trashed or face.decision != Decision.NONE:
        return Review.NONE, 0.0
    if face.person_id is None:
        # The closer the similarity to the threshold, the likelier "unknown" is wrong.
        near = min(1.0, face.similarity / space.threshold) if space.threshold else 1.0
        return Review.UNKNOWN, round(near / 2, 6)
    if face.found_person_id is None:
        return Review.GROUPED, 0.0
    if face.similarity < space.confirm_threshold:
        room = space.confirm_threshold - space.threshold
        above = (face.similarity - space.threshold) / room if room > 0 else 1.0
        return Review.WEAK, round(1.0 - max(0.0, min(1.0, above)) / 2, 6)
    return Review.NONE, 0.0


def _surest_first(face: Face) -> tuple[bool, float, int]:
    return (face.decision == Decision.NONE, -face.similarity, face.pk)


def people_named_by(face: Face) -> set[int]:
    """Pks of the people named by the decision, the engine and a group; not mapped to canonical
    persons."""
    pks = (face.decided_person_id, face.found_person_id, face.grouped_person_id)
    return {pk for pk in pks if pk is not None}


def _rejected(faces: Sequence[Face]) -> dict[int, set[int]]:
    """By face, the canonical people whom somebody rejected for it."""
    found: dict[int, set[int]] = defaultdict(set)
    rows = Rejection.objects.filter(face__in=[face.pk for face in faces])
    for face_pk, person_pk in rows.values_list("face", "person__canonical"):
        found[face_pk].add(person_pk)
    return found
