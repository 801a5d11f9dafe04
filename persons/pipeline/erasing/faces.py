"""Faces of somebody who is erased, what is known of their looks, and the photos they are on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from persons import audit, calls, holds
from persons.engine.store import LEARNED
from persons.evidence import face_of
from persons.locking import locked
from persons.models import (
    Call,
    ChangedFace,
    Decision,
    Enrolment,
    EnrolmentState,
    Erasure,
    Face,
    FaceVector,
    Finding,
    Person,
    Photo,
    Recognition,
    Rejection,
    Space,
    Team,
)
from persons.models.faces import FaceQuerySet
from persons.pipeline.erasing.claims import Held
from persons.pipeline.purging import RENDITIONS
from persons.settling import raw_words, settle_photos
from persons.storage import delete_folder
from persons.vision.envelope import UNDEFINED

PHOTOS_AT_ONCE = 100
LOOKED_UP_AT_ONCE = 2000
"""Faces: no index leads to those that have but a tag."""

NOTHING_KNOWN: dict[str, Any] = {
    "found_person": None,
    "grouped_person": None,
    "decided_person": None,
    "decided_by": None,
    "person": None,
    "tag": UNDEFINED,
    "similarity": 0.0,
    "confidence": 0.0,
    "quality": 0.0,
    "attributes": {},
    "recognition": None,
    "found_by_run": None,
    "review": "",
    "review_rank": 0.0,
}


def theirs(held: Held) -> FaceQuerySet:
    """Faces on which any word speaks of them, trashed ones too."""
    pks = held.pks()
    words = (
        Q(person__in=pks)
        | Q(found_person__in=pks)
        | Q(grouped_person__in=pks)
        | Q(decided_person__in=pks)
    )
    return Face.everything.filter(words | Q(space=held.space, tag__in=held.tags))


def forget_faces(held: Held) -> timedelta | None:
    """Photo by photo. None when there is no face of theirs any more."""
    while True:
        faces = theirs(held).order_by("photo").values_list("photo", flat=True)
        photos = sorted(set(faces[:LOOKED_UP_AT_ONCE]))
        if not photos:
            _forget_recognised_before(held)
            return None
        for start in range(0, len(photos), PHOTOS_AT_ONCE):
            _forget_on(held, photos[start : start + PHOTOS_AT_ONCE])
            if held.is_over:
                return timedelta(0)


@transaction.atomic
def _forget_on(held: Held, photo_pks: Sequence[int]) -> None:
    locked(Space.objects.filter(pk=held.space.pk)).get()
    photos = list(locked(Photo.everything.filter(pk__in=photo_pks).select_related("gallery")))
    # A face that follows somebody who was merged or parted may still stand under another's name.
    settle_photos(photo_pks)
    pks = held.pks()
    faces = list(locked(theirs(held).filter(photo__in=photos)))
    rejected = set(
        Rejection.objects.filter(face__in=faces, person__in=pks).values_list("face", flat=True)
    )
    mine = [face for face in faces if _is_theirs(face, pks, rejected)]
    others = [face.pk for face in faces if face not in mine]
    counts = _destroy(held, [face.pk for face in mine])
    left = Face.everything.filter(pk__in=others)
    left.filter(Q(found_person__in=pks) | Q(tag__in=held.tags)).update(
        found_person=None, tag=UNDEFINED, similarity=0.0
    )
    left.filter(grouped_person__in=pks).update(grouped_person=None)
    left.filter(decided_person__in=pks).update(decided_person=None, decision=Decision.NONE)
    settle_photos(photo_pks)
    _note(held, photos, mine, counts)


def _note(
    held: Held, photos: Sequence[Photo], mine: Sequence[Face], counts: dict[str, int]
) -> None:
    more = {}
    on_photos = {face.photo_id for face in mine}
    if held.erasure.photos != Erasure.Photos.KEEP and on_photos:
        known: list[int] = held.erasure.report.get("photos", [])
        more["photos"] = sorted({*known, *on_photos})
    files = _crops(photos) if mine else []
    held.note("faces", counts, **more, **held.doom(files))


def _forget_recognised_before(held: Held) -> None:
    """Faces that were recognised as them until their consent ended, and have no name since: the
    history still knows which. It is gone over after this, so it is asked here."""
    waiting = Enrolment.objects.filter(person__in=held.pks(), state=EnrolmentState.WAITING)
    digests = set(waiting.values_list("sha256", flat=True))
    if not digests:
        return
    told = Finding.objects.filter(
        told_id__in=held.erasure.ids,
        call__space=held.space,
        recognition__photo__isnull=False,
        # What another picture matched may be somebody else: it was perhaps taken back for that.
        matched_sha256__in=[*digests, "", LEARNED],
    )
    photos = sorted(set(told.values_list("recognition__photo", flat=True)))
    for start in range(0, len(photos), PHOTOS_AT_ONCE):
        _forget_recognised_on(held, photos[start : start + PHOTOS_AT_ONCE], told)


@transaction.atomic
def _forget_recognised_on(held: Held, photo_pks: Sequence[int], told: QuerySet[Finding]) -> None:
    locked(Space.objects.filter(pk=held.space.pk)).get()
    photos = list(locked(Photo.everything.filter(pk__in=photo_pks).select_related("gallery")))
    unknown = Face.everything.filter(photo__in=photos, person=None, decision=Decision.NONE)
    rejected = Rejection.objects.filter(face=OuterRef("pk"), person__in=held.pks())
    faces = {face.pk: face for face in locked(unknown.filter(~Exists(rejected)))}
    found = told.filter(recognition__photo__in=photos).select_related("recognition__photo")
    seen = {face.pk for face in map(face_of, found) if face is not None}
    mine = [face for pk, face in faces.items() if pk in seen and not raw_words(face)]
    counts = _destroy(held, [face.pk for face in mine])
    settle_photos(photo_pks)
    _note(held, photos, mine, counts)


def _is_theirs(face: Face, pks: Collection[int], rejected: Collection[int]) -> bool:
    """Whether it is they who are seen there; else the engine has only thought so."""
    if face.person_id is not None:
        return face.person_id in pks
    return face.pk not in rejected and bool(raw_words(face) & set(pks))


def _destroy(held: Held, face_pks: Sequence[int]) -> dict[str, int]:
    """The rows stay, as boxes in which there is nobody: a later recognition finds a face there
    again, and would take it for an unknown one."""
    if not face_pks:
        return {}
    faces = Face.everything.filter(pk__in=face_pks)
    with_attributes = faces.exclude(attributes={}).count()
    vectors = FaceVector.objects.filter(face__in=face_pks).delete()[0]
    decisions = ChangedFace.objects.filter(face__in=face_pks).delete()[0]
    decisions += Rejection.objects.filter(face__in=face_pks).delete()[0]
    Person.objects.filter(cover__in=face_pks).update(cover=None)
    # A picture of them that somebody else had by mistake, and has no more.
    wrong = Enrolment.objects.filter(face__in=face_pks).exclude(person__in=held.pks())
    wrong = wrong.exclude(state__in=EnrolmentState.live())
    files = list(wrong.exclude(image="").values_list("image", flat=True))
    wrong.update(image="", sha256="", face=None, error="")
    held.keep(**held.doom(files))
    faces.update(decision=Decision.ERASED, decided_at=timezone.now(), **NOTHING_KNOWN)
    return {
        "faces": len(face_pks),
        "attributes": with_attributes,
        "embeddings": vectors,
        "decisions": decisions,
    }


def _crops(photos: Sequence[Photo]) -> list[str]:
    """Folders of crops; those of others on the same photos are cut again when asked for."""
    return [f"crops/{photo.gallery.team_id}/{photo.sha256[:2]}/{photo.sha256}/" for photo in photos]


def delete_photos(held: Held) -> timedelta | None:
    """Those that go with them; rows first, and the bytes unless another photo of the team has the
    same."""
    while wanted := held.erasure.report.get("photos", []):
        _delete_some(held, wanted[:PHOTOS_AT_ONCE], wanted[PHOTOS_AT_ONCE:])
        if held.is_over:
            return timedelta(0)
    return None


@transaction.atomic
def _delete_some(held: Held, some: Sequence[int], rest: Sequence[int]) -> None:
    locked(Space.objects.filter(pk=held.space.pk)).get()
    photos = Photo.everything.filter(pk__in=some)
    if held.erasure.photos == Erasure.Photos.ALONE:
        known = Face.everything.filter(photo=OuterRef("pk"), person__isnull=False, missing=False)
        photos = photos.filter(~Exists(known))
    rows = list(locked(holds.free_photos(photos).select_related("gallery__team")))
    pks = [photo.pk for photo in rows]
    for gallery in {photo.gallery for photo in rows}:
        ids = [photo.pk for photo in rows if photo.gallery_id == gallery.pk]
        audit.record(
            actor=held.actor,
            team=gallery.team,
            action="photos.purge",
            target=gallery,
            after={
                "gallery": gallery.slug,
                "photos": len(ids),
                "ids": ids,
                "erasure": held.erasure.reference,
            },
        )
    asked = Recognition.objects.filter(photo__in=pks)
    asked_by = sorted(set(asked.values_list("call", flat=True)))
    if asked_by:
        asked.update(sha256="", width=0, height=0, erased_at=timezone.now())
        Call.objects.filter(pk__in=asked_by).update(question="")
        calls.changed(
            asked_by, actor=held.actor, action="call.redact", reason=held.erasure.reference
        )
    keys = [key for photo in rows for key in (photo.original, *map(photo.key, RENDITIONS))]
    gone = sorted({*held.erasure.report.get("gone_photos", []), *pks})
    Photo.everything.filter(pk__in=pks).delete()
    held.note(
        "photos",
        {"photos": len(rows)},
        photos=list(rest),
        gone_photos=gone,
        **held.doom([*keys, *_crops(rows)]),
    )


def delete_files(held: Held) -> timedelta | None:
    """What nobody refers to any more. A folder's name ends with a slash."""
    doomed: list[str] = held.erasure.report.get("doomed", [])
    count = sum(_delete(held, key) for key in doomed)
    with transaction.atomic():
        held.note("storage", {"files": count}, doomed=[])
    return None


@transaction.atomic
def _delete(held: Held, key: str) -> int:
    """Locked as whoever adds a photo is: nobody comes to rely on a file that is being deleted."""
    locked(Team.objects.filter(pk=held.erasure.team_id)).get()
    if _is_wanted(key, held):
        return 0
    if key.endswith("/"):
        count = _files_in(key)
        delete_folder(key.rstrip("/"))
        return count
    if not default_storage.exists(key):
        return 0
    default_storage.delete(key)
    return 1


def _files_in(folder: str) -> int:
    try:
        return len(default_storage.listdir(folder.rstrip("/"))[1])
    except FileNotFoundError:
        return 0


def _is_wanted(key: str, held: Held) -> bool:
    """Whether somebody else's row has the same bytes."""
    kind, _, rest = key.partition("/")
    if kind == "enrolments":
        return (
            Enrolment.objects.filter(image=key)
            .exclude(person__in=held.pks())
            .filter(state__in=EnrolmentState.live())
            .exists()
        )
    if kind in ("originals", "renditions"):
        team, _, digest, *_ = rest.split("/")
        sha256 = digest.partition(".")[0]
        return Photo.everything.filter(gallery__team=int(team), sha256=sha256).exists()
    return False
