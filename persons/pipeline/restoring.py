"""A space is rebuilt from a snapshot: its people in the ledger, and their pictures at Vision.

The file is read to its end before anything changes. Then the people are made in one transaction,
the enrolments in slices (`position` is how far down the snapshot's list), and what is QUEUED for
the job is set in batches over many people. Each part is stored together with how far it came, so
that a restore that was cut off anywhere goes on from there.
"""

from __future__ import annotations

from dataclasses import astuple
from datetime import timedelta
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from persons import audit, consent, ledger
from persons.backends import vision_for
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
from persons.pipeline.claims import Held, JobFailed
from persons.pipeline.manifests import Manifest, SavedPicture, SnapshotError
from persons.pipeline.placing import make_people, place
from persons.pipeline.resettling import queue_settling
from persons.pipeline.setting import set_some
from persons.pipeline.snapshots import Snapshot, key_of, opened
from persons.settling import roots_of
from persons.storage import stored
from persons.vision.types import Vision

PICTURES_AT_ONCE = 500


def restore(held: Held) -> timedelta | None:
    """The step of a RESTORE."""
    job = held.job
    space = Space.objects.select_related("team").get(pk=job.space_id)
    if not job.report.get("people") or job.position < job.total:
        _prepare(held, space)
        return timedelta(0)
    pause = set_some(held, space)
    if pause is None:
        _finish(held, space)
    return pause


def _prepare(held: Held, space: Space) -> None:
    """People and enrolments, for as long as it is our turn."""
    snapshot = held.job.snapshot
    if snapshot is None or not snapshot.file:
        raise JobFailed("The snapshot is not there any more.")
    try:
        with stored(snapshot.file) as file, opened(file) as found:
            if not held.job.report.get("people"):
                found.check(lambda count: held.tell(0))
                _make_people(held, found.manifest)
            # At least once in each turn, however long it took to get here.
            while held.job.position < held.job.total:
                _want_some(held, space, found)
                if held.is_over:
                    break
    except FileNotFoundError:
        raise JobFailed("The snapshot's file is gone.") from None
    except SnapshotError as error:
        raise JobFailed(str(error)) from None


@transaction.atomic
def _make_people(held: Held, manifest: Manifest) -> None:
    job = held.job
    space = Space.objects.select_for_update(of=("self",), no_key=True).get(pk=job.space_id)
    placing = place(manifest, space)
    make_people(placing, space, job.requested_by)
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
        # The two exclude each other, and what protects people is not turned off by a file.
        policy["create_new"] = False
    Space.objects.filter(pk=space.pk).update(**policy)
    if not space.name and manifest.name:
        Space.objects.filter(pk=space.pk).update(name=manifest.name[:100])
    if before != (manifest.policy["threshold"], manifest.policy["confirm_threshold"]):
        queue_settling(space, user)


# --- Which pictures are wanted ---


def moved_ids(job: SpaceJob) -> dict[int, int]:
    """The snapshot's ids that are others in the space."""
    return {saved: now for _, saved, _, now, _ in job.report.get("conflicts", []) if saved != now}


def is_known_to(vision: Vision, enrolment: Enrolment) -> bool:
    """Whether it was this Vision that took the picture, and not one that the team has left."""
    call = enrolment.call
    return (
        enrolment.state == EnrolmentState.DONE
        and call is not None
        and (call.backend, call.model) == (vision.name, vision.model[:200])
    )


def _want_some(held: Held, space: Space, snapshot: Snapshot) -> None:
    """The next enrolments of the snapshot's list become QUEUED for this job."""
    job, manifest = held.job, snapshot.manifest
    some = manifest.pictures[job.position : job.position + PICTURES_AT_ONCE]
    for digest in dict.fromkeys(picture.sha256 for picture in some):
        key = ledger.picture_key(space.team_id, digest)
        if not default_storage.exists(key):
            default_storage.save(key, ContentFile(snapshot.picture(digest)))
    with transaction.atomic():
        space = Space.objects.select_for_update(no_key=True).get(pk=space.pk)
        wanted = _Wanted(job, space, some, is_origin=manifest.key == key_of(space))
        there, corrected = wanted.queue()
        report = job.report | {
            "there": job.report["there"] + there,
            "corrected": job.report["corrected"] + corrected,
        }
        held.renew(
            position=job.position + len(some),
            done=job.done + there + corrected,
            report=report,
        )


class _Wanted:
    """Some pictures of a snapshot, against what the ledger holds of their people."""

    def __init__(
        self, job: SpaceJob, space: Space, pictures: tuple[SavedPicture, ...], *, is_origin: bool
    ) -> None:
        self._job, self._space, self._pictures = job, space, pictures
        self._is_origin = is_origin
        self._moved = moved_ids(job)
        ids = {self._now(picture.person) for picture in pictures}
        people = Person.objects.filter(space=space, person_id__in=ids)
        pks = dict(people.values_list("person_id", "pk"))
        roots = roots_of(pks.values())
        self._people = {person_id: roots[pk] for person_id, pk in pks.items()}
        self._merged = {person_id for person_id, pk in pks.items() if roots[pk] != pk}
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
        names = {picture.by for picture in pictures}
        members = User.objects.filter(memberships__team=space.team_id, username__in=names)
        self._users = {user.username: user for user in members}

    def queue(self) -> tuple[int, int]:
        """How many Vision has already, and how many a human has corrected since."""
        vision = vision_for(self._space)
        new: list[Enrolment] = []
        again: list[Enrolment] = []
        # They are made known to the ledger, and go when there is a consent.
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
        """Whether a human has said since that this picture shows somebody else."""
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
        return Enrolment(
            person_id=person,
            face=face,
            sha256=picture.sha256,
            image=ledger.picture_key(self._space.team_id, picture.sha256),
            origin=self._origin(picture),
            job=self._job,
            created_by=self._users.get(picture.by),
            request_id=self._job.request_id,
            created_at=picture.at,
        )

    def _origin(self, picture: SavedPicture) -> Enrolment | None:
        """The merged person's own row, so that undoing the merge finds whose picture it was."""
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
def _finish(held: Held, space: Space) -> None:
    # First the space, as everybody does who locks more than one row.
    space = (
        Space.objects.select_for_update(of=("self",), no_key=True)
        .select_related("team")
        .get(pk=space.pk)
    )
    job = held.job
    accepted = Enrolment.objects.filter(job=job, state=EnrolmentState.DONE).count()
    refused = Enrolment.objects.filter(job=job, state=EnrolmentState.FAILED).count()
    photos = _look_again(space, job) if accepted else 0
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


def to_look_at(space: Space) -> Any:
    """Recognised photos with a face that nobody knew: somebody who was restored may be on them."""
    return Photo.objects.filter(
        gallery__space=space,
        state__in=[PhotoState.DONE, PhotoState.QUEUED],
        unknown_count__gt=0,
    )


def _look_again(space: Space, job: SpaceJob) -> int:
    run = Run.objects.create(
        space=space,
        requested_by=job.requested_by,
        request_id=job.request_id,
        reason="Looking for the people of a restored snapshot",
    )
    run.photo_count = to_look_at(space).update(
        state=PhotoState.QUEUED,
        requested=F("requested") + 1,
        after=timezone.now(),
        attempts=0,
        request_id=run.request_id,
        run=run,
    )
    if not run.photo_count:
        run.delete()
        return 0
    run.save(update_fields=["photo_count"])
    return run.photo_count


def give_back(job: SpaceJob) -> None:
    """What a restore that was cancelled had still to send. In the caller's transaction.

    What another Vision has stays what it was; what may have been sent is removed there again.
    """
    waiting = Enrolment.objects.filter(job=job, state=EnrolmentState.WAITING)
    waiting.filter(done_at=None).update(state=EnrolmentState.REMOVED)
    queued = Enrolment.objects.filter(job=job, state=EnrolmentState.QUEUED)
    queued.exclude(done_at=None).update(state=EnrolmentState.DONE)
    queued.filter(call=None).update(state=EnrolmentState.REMOVED)
    sent = set(queued.values_list("person", flat=True))
    queued.update(state=EnrolmentState.REMOVING)
    Person.objects.filter(pk__in=sent).exclude(sync_state=SyncState.RUNNING).update(
        sync_state=SyncState.QUEUED,
        sync_attempts=0,
        sync_after=timezone.now(),
        sync_by=job.requested_by,
        sync_request_id=job.request_id,
    )
