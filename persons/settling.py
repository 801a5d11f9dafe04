"""Who each face of a photo is, and whether it wants a human: worked out here and nowhere else.

A face has up to three words on it: a human's, the engine's and a group's. Raw, they name people as
they were when the word was given; those who were merged since stand for whom they were merged into.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from django.db import transaction
from django.db.models import Count, Q

from persons.locking import locked
from persons.models import Decision, Face, Person, Photo, Rejection, Review, Space
from persons.models.faces import FaceQuerySet
from persons.models.spaces import PersonQuerySet
from persons.tables import Table, one_of, rows, save

SETTLED = ["person_id", "review", "review_rank", "space_id", "gallery_id"]
FACES, PHOTOS, PEOPLE = Table(Face), Table(Photo), Table(Person)

# However often somebody was merged, and those before them: one question. A circle, which nobody
# can make, ends too: UNION leaves out what was there already.
ROOTS = (
    "WITH RECURSIVE above(pk, root, into_pk) AS ("
    f"SELECT id, id, merged_into_id FROM {PEOPLE.name} "
    "WHERE {} AND merged_into_id IS NOT NULL UNION "
    "SELECT above.pk, p.id, p.merged_into_id "
    f"FROM above JOIN {PEOPLE.name} p ON p.id = above.into_pk) "
    "SELECT pk, root FROM above WHERE into_pk IS NULL"
)
SUBTREE = (
    "WITH RECURSIVE below(pk) AS (SELECT CAST(%s AS bigint) UNION "
    f"SELECT p.id FROM below JOIN {PEOPLE.name} p ON p.merged_into_id = below.pk) "
    "SELECT pk FROM below"
)

WORDS = ("found_person", "grouped_person", "decision", "decided_person")
LOOKED_AT = ("photo", "missing", "trashed", "similarity", *WORDS)
"""What of a face it depends on who it is."""
COUNTED = ("face_count", "unknown_count")
THRESHOLDS = ("gallery__space__threshold", "gallery__space__confirm_threshold")

DOUBLE_RANK = 0.9
"""One of two faces of a photo that are said to be one person is wrong, nearly always."""

AT_ONCE = 500
"""Photos that are settled in one go."""


@transaction.atomic(savepoint=False)
def settle_photos(photo_pks: Iterable[int]) -> None:
    """Work out `person`, `review` and `review_rank` of all faces of these photos, and their counts.

    In the caller's transaction, which has changed something about the faces or where the photo is;
    locks the photos, then their faces. Trashed ones too. Seven queries, however many photos.
    """
    wanted = Photo.everything.filter(pk__in=sorted(set(photo_pks)))
    photos = list(locked(wanted.select_related("gallery__space").only(*COUNTED, *THRESHOLDS)))
    faces: dict[int, list[Face]] = defaultdict(list)
    rows = Face.everything.filter(photo__in=[photo.pk for photo in photos])
    for face in locked(rows.only(*LOOKED_AT, *SETTLED)):
        faces[face.photo_id].append(face)
    everybody = [face for some in faces.values() for face in some]
    rejected = _rejected(everybody)
    named = {pk for face in everybody for pk in raw_words(face)} | {
        pk for some in rejected.values() for pk in some
    }
    roots = roots_of(named)
    changed_faces, changed_photos = [], []
    for photo in photos:
        some = faces[photo.pk]
        space = photo.gallery.space
        before = [_settled(face) for face in some]
        for face in some:
            face.gallery_id, face.space_id = photo.gallery_id, space.pk
        _settle(some, space, rejected, roots)
        changed_faces += [
            face for face, old in zip(some, before, strict=True) if old != _settled(face)
        ]
        present = [face for face in some if not face.missing]
        counts = (len(present), sum(map(is_unknown, present)))
        if counts != (photo.face_count, photo.unknown_count):
            photo.face_count, photo.unknown_count = counts
            changed_photos.append(photo)
    save(FACES, changed_faces, SETTLED)
    save(PHOTOS, changed_photos, COUNTED)


def _settled(face: Face) -> tuple[object, ...]:
    return (face.person_id, face.review, face.review_rank, face.space_id, face.gallery_id)


def settle_person(person_pk: int) -> None:
    """Settle what a decision left behind that was under way while somebody was merged or parted.

    Faces of those who are merged into the person by now, faces that no word gives to the person any
    more, and photos where the person is twice. In transactions of its own.
    """
    theirs = subtree_of(person_pk)
    words = words_on(theirs)
    late = Q(person__in=theirs - {person_pk}) | Q(person=person_pk) & ~words
    photos = set(Face.everything.filter(late).values_list("photo", flat=True))
    settle_in_turn(photos | photos_with_several(person_pk))
    count_faces(Person.objects.filter(pk__in=theirs))


def words_on(people: Collection[int]) -> Q:
    """Faces on which a word, raw, speaks of one of these people."""
    words = Q(decided_person__in=people) | Q(found_person__in=people)
    return words | Q(grouped_person__in=people)


def settle_merged() -> None:
    """Faces that still are a merged person's: of a decision that was under way just then."""
    late = Face.everything.filter(person__merged_into__isnull=False)
    settle_in_turn(set(late.values_list("photo", flat=True)[:AT_ONCE]))


def settle_in_turn(photo_pks: Collection[int]) -> None:
    """Any number of photos, some at a time; in a transaction each, unless the caller has one."""
    in_order = sorted(photo_pks)
    for start in range(0, len(in_order), AT_ONCE):
        with transaction.atomic():
            settle_photos(in_order[start : start + AT_ONCE])


def photos_with_several(person_pk: int, *, among: FaceQuerySet | None = None) -> set[int]:
    """Photos on which somebody has more than one face; `among` those of certain faces alone."""
    theirs = Face.everything.filter(person=person_pk, missing=False)
    if among is not None:
        theirs = theirs.filter(photo__in=among.order_by().values("photo"))
    counted = theirs.order_by().values("photo").annotate(n=Count("pk")).filter(n__gt=1)
    return set(counted.values_list("photo", flat=True))


def count_faces(people: PersonQuerySet) -> None:
    """Refresh `face_count` of these people, which lists are sorted by.

    Who is locked just now is left for the next time: nobody waits for this.
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
    """Whether it waits for a name: nobody was found, and no human has said anything."""
    return face.person_id is None and face.decision == Decision.NONE and not face.missing


def roots_of(person_pks: Iterable[int]) -> dict[int, int]:
    """For whom each of these people stands: themselves, or whom they were merged into, by pk."""
    roots = {pk: pk for pk in person_pks}
    if roots:
        roots |= dict(rows(one_of("id", list(roots), ROOTS)))
    return roots


def of_one(faces: Collection[Face], person_pk: int) -> list[Face]:
    """Of these faces the person's, with those that have not followed a merge yet."""
    roots = roots_of({person_pk, *(face.person_id for face in faces if face.person_id)})
    return [face for face in faces if roots.get(face.person_id or 0) == roots[person_pk]]


def subtree_of(person_pk: int) -> set[int]:
    """Somebody and all who were merged into them, directly or not, by pk."""
    return {pk for (pk,) in rows((SUBTREE, [person_pk]))}


def _settle(
    faces: Sequence[Face],
    space: Space,
    rejected: dict[int, set[int]],
    roots: dict[int, int],
) -> None:
    for face in faces:
        not_them = {roots[pk] for pk in rejected.get(face.pk, ())}
        face.person_id = _who(face, not_them, roots)
    seen: dict[int, Face] = {}
    for face in sorted(faces, key=_surest_first):
        face.review, face.review_rank = _review(face, space)
        if face.missing or face.person_id is None:
            continue
        if face.person_id in seen and face.decision == Decision.NONE and not face.trashed:
            face.review, face.review_rank = Review.DOUBLE, DOUBLE_RANK
        seen.setdefault(face.person_id, face)


def _who(face: Face, not_them: set[int], roots: dict[int, int]) -> int | None:
    if face.decision == Decision.NAMED:
        return roots[face.decided_person_id] if face.decided_person_id is not None else None
    if face.decision in (Decision.IGNORED, Decision.ERASED):
        return None
    for pk in (face.found_person_id, face.grouped_person_id):
        if pk is not None and roots[pk] not in not_them:
            return roots[pk]
    return None


def _review(face: Face, space: Space) -> tuple[Review, float]:
    if face.missing or face.trashed or face.decision != Decision.NONE:
        return Review.NONE, 0.0
    if face.person_id is None:
        # The nearer somebody came to being recognised, the likelier it is wrong that nobody was.
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


def raw_words(face: Face) -> set[int]:
    """Whom a human, the engine and a group named, by pk, as they were then."""
    pks = (face.decided_person_id, face.found_person_id, face.grouped_person_id)
    return {pk for pk in pks if pk is not None}


def _rejected(faces: Sequence[Face]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    rows = Rejection.objects.filter(face__in=[face.pk for face in faces])
    for face_pk, person_pk in rows.values_list("face", "person"):
        found[face_pk].add(person_pk)
    return found
