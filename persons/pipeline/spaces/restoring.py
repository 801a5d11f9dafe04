"""Rebuilds a space from a snapshot: its people in the ledger, and their pictures at Vision.

The whole file is checked before anything changes. Then the people are created in one transaction
and the enrolments in slices (`position` counts entries of the snapshot's list). The job's QUEUED
enrolments are set in batches across people. Each part is stored with the progress, so that a
restore that was cut off resumes there.
"""

from __future__ import annotations

from dataclasses import astuple
from datetime import timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from persons import audit
from persons.backends.select import vision_for
from persons.db.locking import in_turn
from persons.files.storage import stored
from persons.models import (
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Person,
    Photo,
    PhotoState,
    Rejection,
    Run,
    Space,
    SpaceJob,
    SyncState,
    User,
)
from persons.people import enrolments
from persons.pipeline.enrolment.bulk_enrol import set_some
from persons.pipeline.identity.rebuild_identities import enqueue_rebuild
from persons.pipeline.recognition import rescan
from persons.pipeline.spaces.job_claims import HeldJob, JobFailed
from persons.pipeline.spaces.manifests import Manifest, SavedPicture, SnapshotError
from persons.pipeline.spaces.restore_mapping import make_people, place
from persons.pipeline.spaces.snapshots import Snapshot, key_of, opened
from persons.privacy import consent
from persons.privacy.erased import pictures_erased_of
from persons.vision.types import Vision

PICTURES_AT_ONCE = 500


def restore(held: HeldJob) -> timedelta | None:
    """The step of a RESTORE job."""
    job = held.job
    space = Space.objects.select_related("team").get(pk=job.space_id)
    if not job.report.get("people") or job.position < job.total:
        _prepare(held, space)
        return timedelta(0)
    pause = set_some(held, space)
    if pause is None:
        _finish(held, space)
    return pause


def _prepare(held: HeldJob, space: Space) -> None:
    """Create people and enrolments until the slice is over."""
    snapshot = held.job.snapshot
    if snapshot is None or not snapshot.file:
        raise JobFailed("The snapshot is not there any more.")
    try:
        with stored(snapshot.file) as file, opened(file) as found:
            if not held.job.report.get("people"):
                found.check(lambda count: held.report_progress(0))
                _make_people(held, found.manifest)
            # At least once per turn, however long the steps before took.
            while held.job.position < held.job.total:
                _want_some(held, space, found)
                if held.is_over:
                    break
    except FileNotFoundError:
        raise JobFailed("The snapshot's file is gone.") from None
    except SnapshotError as error:
        raise JobFailed(str(error)) from None


@transaction.atomic
def _make_people(held: HeldJob, manifest: Manifest) -> None:
    job = held.job
    space = Space.objects.select_for_update(of=("self",), no_key=True).get(pk=job.space_id)
    placing = place(manifest, space)
    make_people(placing, space, held.actor)
    if job.report.get("with_policy"):
        _take_policy(space, manifest, job.requested_by)
    report = {
        "people": {"new": len(placing.new), "known": placing.known},
        "conflicts": [list(astuple(conflict)) for conflict in placing.conflicts],
        "there": 0,
        "corrected": 0,
    }
    held.renew(
        total=len(manifest.pictures),
        position=0,
        people_count=len(manifest.people),
        report=job.report | report,
    )


def _take_policy(space: Space, manifest: Manifest, user: User | None) -> None:
    before = (space.threshold, space.confirm_threshold)
    policy = dict(manifest.policy)
    if space.require_consent:
        # The two exclude each other, and a file must not turn off the requirement of consent.
        policy["create_new"] = False
    Space.objects.filter(pk=space.pk).update(**policy)
    if not space.name and manifest.name:
        Space.objects.filter(pk=space.pk).update(name=manifest.name[:100])
    if before != (manifest.policy["threshold"], manifest.policy["confirm_threshold"]):
        enqueue_rebuild(space, user)


# --- Which pictures are wanted ---


def moved_ids(job: SpaceJob) -> dict[int, int]:
    """By snapshot id, ids that differ in the space."""
    return {saved: now for _, saved, _, now, _ in job.report.get("conflicts", []) if saved != now}


def is_known_to(vision: Vision, enrolment: Enrolment) -> bool:
    """Whether this Vision accepted the picture, and not one that the team no longer uses."""
    call = enrolment.call
    return (
        enrolment.state == EnrolmentState.DONE
        and call is not None
        and (call.backend, call.model) == (vision.name, vision.model[:200])
    )


def _want_some(held: HeldJob, space: Space, snapshot: Snapshot) -> None:
    """Queue the next enrolments of the snapshot's list for this job."""
    job, manifest = held.job, snapshot.manifest
    some = manifest.pictures[job.position : job.position + PICTURES_AT_ONCE]
    erased = pictures_erased_of(space.team_id, (picture.sha256 for picture in some))
    for digest in dict.fromkeys(picture.sha256 for picture in some):
        if digest in erased:
            continue
        key = enrolments.picture_key(space.team_id, digest)
        if not default_storage.exists(key):
            default_storage.save(key, ContentFile(snapshot.picture(digest)))
    with transaction.atomic():
        space = Space.objects.select_for_update(no_key=True).get(pk=space.pk)
        left = tuple(picture for picture in some if picture.sha256 not in erased)
        wanted = _Wanted(job, space, left, is_origin=manifest.key == key_of(space))
        there, corrected = wanted.queue()
        report = job.report | {
            "there": job.report["there"] + there,
            "corrected": job.report["corrected"] + corrected,
            "erased": job.report.get("erased", 0) + len(some) - len(left),
        }
        held.renew(
            position=job.position + len(some),
            done=job.done + there + corrected + len(some) - len(left),
            report=report,
        )


class _Wanted:
    """Some pictures of a snapshot, compared with the ledger's enrolments of their people."""

    def __init__(
        self, job: SpaceJob, space: Space, pictures: tuple[SavedPicture, ...], *, is_origin: bool
    ) -> None:
        self._job, self._space, self._pictures = job, space, pictures
        self._is_origin = is_origin
        self._moved = moved_ids(job)
        ids = {self._now(picture.person) for picture in pictures}
        people = Person.objects.filter(space=space, person_id__in=ids)
        self._people = dict(people.values_list("person_id", "canonical"))
        merged = people.exclude(merged_into=None)
        self._merged = set(merged.values_list("person_id", flat=True))
        digests = {picture.sha256 for picture in pictures}
        self._rows: dict[tuple[int, str], list[Enrolment]] = {}
        rows = Enrolment.objects.filter(person__in=self._people.values(), sha256__in=digests)
        for row in rows.select_related("call", "face").order_by("pk"):
            self._rows.setdefault((row.person_id, row.sha256), []).append(row)
        faces = {row.face_id for rows in self._rows.values() for row in rows if row.face_id}
        self._rejected = set(Rejection.objects.filter(face__in=faces).values_list("face", "person"))
        standing = [*EnrolmentState.live(), EnrolmentState.FAILED]
        self._taken = set(
            Enrolment.objects.filter(face__in=faces, state__in=standing).values_list(
                "person", "face"
            )
        )
        cut = Enrolment.objects.filter(person__space__team=space.team_id, sha256__in=digests)
        self._sources = {
            sha256: (gallery, lost)
            for sha256, gallery, lost in cut.order_by("pk").values_list(
                "sha256", "gallery", "source_lost"
            )
        }
        names = {picture.by for picture in pictures}
        members = User.objects.filter(memberships__team=space.team_id, username__in=names)
        self._users = {user.username: user for user in members}

    def queue(self) -> tuple[int, int]:
        """Queue what Vision lacks. Returns how many it has already, and how many a human has
        corrected."""
        vision = vision_for(self._space)
        new: list[Enrolment] = []
        again: list[Enrolment] = []
        # People without a consent get enrolments that wait for one.
        lacking = consent.lacking(self._space, self._people.values())
        there = corrected = 0
        for picture in self._pictures:
            person = self._people.get(self._now(picture.person))
            rows = self._rows.get((person or 0, picture.sha256), [])
            standing = next((row for row in rows if row.state in EnrolmentState.live()), None)
            face = next((row.face for row in reversed(rows) if row.face), None)
            if person is None or self._is_corrected(face, person):
                corrected += 1
            elif standing is None:
                new.append(self._row(picture, person, face))
            elif is_known_to(vision, standing):
                there += 1
            else:
                again.append(standing)
        for row in new:
            if row.person_id in lacking:
                row.state = EnrolmentState.WAITING
        queued = [row.pk for row in again if row.person_id not in lacking]
        Enrolment.objects.filter(pk__in=queued, state__in=EnrolmentState.live()).update(
            state=EnrolmentState.QUEUED, job=self._job
        )
        held = [row.pk for row in again if row.person_id in lacking]
        Enrolment.objects.filter(pk__in=held, state__in=EnrolmentState.live()).update(
            state=EnrolmentState.WAITING, job=self._job
        )
        Enrolment.objects.bulk_create(new, batch_size=500)
        return there, corrected

    def _now(self, person_id: int) -> int:
        return self._moved.get(person_id, person_id)

    def _is_corrected(self, face: Face | None, person: int) -> bool:
        """Whether a human has said since that this picture doesn't show the person."""
        if face is None or not self._is_origin:
            return False
        if (face.pk, person) in self._rejected or face.decision == Decision.IGNORED:
            return True
        decided = face.decision == Decision.NAMED and face.person_id is not None
        return decided and face.person_id != person

    def _row(self, picture: SavedPicture, person: int, face: Face | None) -> Enrolment:
        if face is not None and (person, face.pk) in self._taken:
            face = None
        if face is not None:
            self._taken.add((person, face.pk))
        # The file doesn't say from which gallery a picture was cut; the ledger may.
        gallery, lost = self._sources.get(picture.sha256, (None, True))
        return Enrolment(
            person_id=person,
            face=face,
            gallery_id=face.gallery_id if face is not None else gallery,
            source_lost=face is None and lost,
            sha256=picture.sha256,
            image=enrolments.picture_key(self._space.team_id, picture.sha256),
            origin=self._origin(picture),
            job=self._job,
            created_by=self._users.get(picture.by),
            request_id=self._job.request_id,
            created_at=picture.at,
        )

    def _origin(self, picture: SavedPicture) -> Enrolment | None:
        """The merged person's own enrolment, so that undoing the merge returns the picture."""
        person = self._now(picture.person if picture.origin is None else picture.origin)
        if picture.origin is None and person not in self._merged:
            return None
        return (
            Enrolment.objects.filter(
                person__space=self._space,
                person__person_id=person,
                sha256=picture.sha256,
            )
            .order_by("-pk")
            .first()
        )


# --- The end ---


@transaction.atomic
def _finish(held: HeldJob, space: Space) -> None:
    # The space is locked first, as everywhere.
    space = (
        Space.objects.select_for_update(of=("self",), no_key=True)
        .select_related("team")
        .get(pk=space.pk)
    )
    job = held.job
    accepted = Enrolment.objects.filter(job=job, state=EnrolmentState.DONE).count()
    refused = Enrolment.objects.filter(job=job, state=EnrolmentState.FAILED).count()
    photos = _rescan(space, job) if accepted else 0
    waiting = Enrolment.objects.filter(job=job, state=EnrolmentState.WAITING).count()
    counts = {"accepted": accepted, "refused": refused, "waiting": waiting, "photos": photos}
    held.finish(done=job.total, report=job.report | counts)
    audit.record(
        actor=held.actor,
        team=space.team,
        action="space.restored",
        target=space,
        after={
            "snapshot": job.snapshot_id,
            "made": job.report["people"]["new"],
            "enrolments": accepted,
            "refused": refused,
            **({"without_consent": waiting} if waiting else {}),
        },
    )


def photos_to_rescan(space: Space) -> QuerySet[Photo]:
    """Recognised photos with an unknown face, which may show a restored person."""
    return Photo.objects.filter(
        gallery__space=space,
        state__in=[PhotoState.DONE, PhotoState.QUEUED],
        unknown_count__gt=0,
    )


def _rescan(space: Space, job: SpaceJob) -> int:
    run = Run.objects.create(
        space=space,
        requested_by=job.requested_by,
        request_id=job.request_id,
        reason="Looking for the people of a restored snapshot",
    )
    rescan.requeue(photos_to_rescan(space), run)
    if not rescan.set_photo_count(run):
        run.delete()
    return run.photo_count


def give_back(job: SpaceJob) -> None:
    """Undo what a cancelled restore still had to send, in the caller's transaction.

    Pictures that were enrolled before stay so; those that may have been sent are removed at Vision.
    """
    waiting = Enrolment.objects.filter(job=job, state=EnrolmentState.WAITING)
    waiting.filter(done_at=None).update(state=EnrolmentState.REMOVED)
    queued = Enrolment.objects.filter(job=job, state=EnrolmentState.QUEUED)
    queued.exclude(done_at=None).update(state=EnrolmentState.DONE)
    queued.filter(call=None).update(state=EnrolmentState.REMOVED)
    sent = set(queued.values_list("person", flat=True))
    queued.update(state=EnrolmentState.REMOVING)
    people = Person.objects.filter(pk__in=sent).exclude(sync_state=SyncState.RUNNING)
    in_turn(people).update(
        sync_state=SyncState.QUEUED,
        attempts=0,
        after=timezone.now(),
        sync_by=job.requested_by,
        sync_request_id=job.request_id,
    )
