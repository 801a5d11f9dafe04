"""Erases a person's faces, embeddings and crops, and the photos that go with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from persons import audit
from persons.calls import log as call_log
from persons.calls.evidence import face_of
from persons.db.locking import locked
from persons.engine.store import LEARNED
from persons.faces.identity import people_named_by, resolve_identities
from persons.files.storage import delete_folder
from persons.files.unfinished import sweep_unfinished
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
from persons.pipeline.privacy.erasing.claims import HeldErasure
from persons.pipeline.privacy.purging import RENDITIONS, delete_rows
from persons.privacy import holds
from persons.vision.envelope import UNDEFINED

PHOTOS_AT_ONCE = 100
LOOKED_UP_AT_ONCE = 2000
"""Faces per query: no index leads to faces that have only a tag."""

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


def theirs(held: HeldErasure) -> FaceQuerySet:
    """Faces on which any source names them, trashed ones too."""
    pks = held.pks()
    words = (
        Q(person__in=pks)
        | Q(found_person__in=pks)
        | Q(grouped_person__in=pks)
        | Q(decided_person__in=pks)
    )
    return Face.everything.filter(words | Q(space=held.space, tag__in=held.tags))


def forget_faces(held: HeldErasure) -> timedelta | None:
    """Erase their faces photo by photo. None when no face of theirs is left."""
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
def _forget_on(held: HeldErasure, photo_pks: Sequence[int]) -> None:
    locked(Space.objects.filter(pk=held.space.pk)).get()
    photos = list(locked(Photo.everything.filter(pk__in=photo_pks).select_related("gallery")))
    # A face that a merge or parting has not reached yet may still show another person.
    resolve_identities(photo_pks)
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
    resolve_identities(photo_pks)
    _note(held, photos, mine, counts)


def _note(
    held: HeldErasure, photos: Sequence[Photo], mine: Sequence[Face], counts: dict[str, int]
) -> None:
    more = {}
    on_photos = {face.photo_id for face in mine}
    if held.erasure.photos != Erasure.Photos.KEEP and on_photos:
        known: list[int] = held.erasure.report.get("photos", [])
        more["photos"] = sorted({*known, *on_photos})
    files = _crops(photos) if mine else []
    held.note("faces", counts, **more, **held.mark_for_deletion(files))


def _forget_recognised_before(held: HeldErasure) -> None:
    """Erase faces that were recognised as them until their consent ended, and are unknown since.

    Only the history knows these faces, so this runs before the history is redacted.
    """
    waiting = Enrolment.objects.filter(person__in=held.pks(), state=EnrolmentState.WAITING)
    digests = set(waiting.values_list("sha256", flat=True))
    if not digests:
        return
    findings = Finding.objects.filter(
        told_id__in=held.erasure.ids,
        call__space=held.space,
        recognition__photo__isnull=False,
        # Matches of other pictures are left out: such a picture may have been withdrawn because it
        # shows somebody else.
        matched_sha256__in=[*digests, "", LEARNED],
    )
    photos = sorted(set(findings.values_list("recognition__photo", flat=True)))
    for start in range(0, len(photos), PHOTOS_AT_ONCE):
        _forget_recognised_on(held, photos[start : start + PHOTOS_AT_ONCE], findings)


@transaction.atomic
def _forget_recognised_on(
    held: HeldErasure, photo_pks: Sequence[int], findings: QuerySet[Finding]
) -> None:
    locked(Space.objects.filter(pk=held.space.pk)).get()
    photos = list(locked(Photo.everything.filter(pk__in=photo_pks).select_related("gallery")))
    unknown = Face.everything.filter(photo__in=photos, person=None, decision=Decision.NONE)
    rejected = Rejection.objects.filter(face=OuterRef("pk"), person__in=held.pks())
    faces = {face.pk: face for face in locked(unknown.filter(~Exists(rejected)))}
    found = findings.filter(recognition__photo__in=photos).select_related("recognition__photo")
    seen = {face.pk for face in map(face_of, found) if face is not None}
    mine = [face for pk, face in faces.items() if pk in seen and not people_named_by(face)]
    counts = _destroy(held, [face.pk for face in mine])
    resolve_identities(photo_pks)
    _note(held, photos, mine, counts)


def _is_theirs(face: Face, pks: Collection[int], rejected: Collection[int]) -> bool:
    """Whether the face shows them; otherwise the engine has only mistaken it for them."""
    if face.person_id is not None:
        return face.person_id in pks
    return face.pk not in rejected and bool(people_named_by(face) & set(pks))


def _destroy(held: HeldErasure, face_pks: Sequence[int]) -> dict[str, int]:
    """Empty these faces. The rows stay as erased boxes.

    Without them a later recognition would find an unknown face in the same place.
    """
    if not face_pks:
        return {}
    faces = Face.everything.filter(pk__in=face_pks)
    with_attributes = faces.exclude(attributes={}).count()
    vectors = FaceVector.objects.filter(face__in=face_pks).delete()[0]
    decisions = ChangedFace.objects.filter(face__in=face_pks).delete()[0]
    decisions += Rejection.objects.filter(face__in=face_pks).delete()[0]
    Person.objects.filter(cover__in=face_pks).update(cover=None)
    # Pictures of them that were enrolled under somebody else by mistake and removed since.
    wrong = Enrolment.objects.filter(face__in=face_pks).exclude(person__in=held.pks())
    wrong = wrong.exclude(state__in=EnrolmentState.live())
    files = list(wrong.exclude(image="").values_list("image", flat=True))
    wrong.update(image="", sha256="", face=None, error="")
    held.keep(**held.mark_for_deletion(files))
    faces.update(decision=Decision.ERASED, decided_at=timezone.now(), **NOTHING_KNOWN)
    return {
        "faces": len(face_pks),
        "attributes": with_attributes,
        "embeddings": vectors,
        "decisions": decisions,
    }


def _crops(photos: Sequence[Photo]) -> list[str]:
    """Folders of crops. Crops of other faces on these photos are made again on demand."""
    return [f"crops/{photo.gallery.team_id}/{photo.sha256[:2]}/{photo.sha256}/" for photo in photos]


def delete_photos(held: HeldErasure) -> timedelta | None:
    """Delete the photos that go with them: rows first.

    Files stay if another photo of the team has the same bytes.
    """
    while wanted := held.erasure.report.get("photos", []):
        _delete_some(held, wanted[:PHOTOS_AT_ONCE], wanted[PHOTOS_AT_ONCE:])
        if held.is_over:
            return timedelta(0)
    return None


@transaction.atomic
def _delete_some(held: HeldErasure, some: Sequence[int], rest: Sequence[int]) -> None:
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
        asked.update(
            sha256="", width=0, height=0, own_width=0, own_height=0, erased_at=timezone.now()
        )
        Call.objects.filter(pk__in=asked_by).update(question="")
        call_log.changed(
            asked_by, actor=held.actor, action="call.redact", reason=held.erasure.reference
        )
    keys = [key for photo in rows for key in (photo.original, *map(photo.key, RENDITIONS))]
    gone = sorted({*held.erasure.report.get("gone_photos", []), *pks})
    delete_rows(pks)
    held.note(
        "photos",
        {"photos": len(rows)},
        photos=list(rest),
        gone_photos=gone,
        **held.mark_for_deletion([*keys, *_crops(rows)]),
    )


def delete_files(held: HeldErasure) -> timedelta | None:
    """Delete the files that nothing refers to any more. A folder's key ends with a slash."""
    doomed: list[str] = held.erasure.report.get("doomed", [])
    count = sum(_delete(held, key) for key in doomed)
    # Files that a dead process was receiving or writing.
    count += sweep_unfinished(everywhere=True)
    with transaction.atomic():
        held.note("storage", {"files": count}, doomed=[])
    return None


@transaction.atomic
def _delete(held: HeldErasure, key: str) -> int:
    """Takes the lock of `add_photo`, so that no new row comes to refer to a file being deleted."""
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


def _is_wanted(key: str, held: HeldErasure) -> bool:
    """Whether somebody else's row needs the same bytes."""
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
