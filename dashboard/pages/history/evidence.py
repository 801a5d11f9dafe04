"""The evidence of one recognised face: a card printable on one page, and the same as JSON."""

from __future__ import annotations

from typing import Any

from django.core import signing
from django.http import Http404, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe

from dashboard.middleware import PageRequest
from dashboard.pages.audit.log import rows_of, visible_targets
from dashboard.pages.photos import media
from dashboard.pages.privacy.reasons import asking, demand
from dashboard.pages.shared import actor_of, signed_in
from persons import access, pictures
from persons.access import (
    Right,
    face_for,
    finding_by_pk,
    finding_for,
    rights_of,
)
from persons.actions.records import (
    fetch_asked_picture,
    fetch_enrolled_picture,
    open_evidence,
)
from persons.calls import evidence
from persons.calls.evidence import Card, Kept, RecordedDecision
from persons.files.storage import stored
from persons.images import ImageRefused
from persons.inputs.params import Parameters
from persons.models import AuditEntry, Finding, Role
from persons.privacy.access_reasons import KEPT

SALT = "rollcall.evidence"
PICTURES_FOR = KEPT
"""How long the pictures of a card can be loaded after it was opened."""

SHOWN = {
    "same": "The bytes that were sent, as their digest says.",
    "other": "Not the bytes that were sent: the file that is kept now has another digest.",
    "erased": "The picture was erased.",
    "never": "The picture was not kept: only its digest was written down.",
    "gone": "The picture is not there any more.",
    "redacted": "What this face was, and where it stood in the picture, was erased.",
}
MATCHED = {
    "picture": "The enrolled picture that it came nearest to.",
    "learned": "It came nearest to what recognitions had taught of the person (update_embedding), "
    "of which there is no picture.",
    "created": "The person was made of this very face, by this call.",
    "lost": "The enrolled picture that it matched is not on record any more.",
    "closed": "The enrolled picture is of a gallery that is closed to you.",
    "untold": "Vision does not tell which enrolled picture it matched.",
    "nobody": "It was given to nobody, so there is no picture to compare it with.",
    "redacted": "Erased.",
}
UNPROVEN = (
    "names of accounts, API keys, spaces and the team, and those with the mark; who was merged "
    "into whom; when a picture was enrolled, and what became of it since"
)
"""Text that names the card's data from the current database, which the audit doesn't prove."""
VERDICTS = {
    "match": "Counted as a match",
    "suggestion": "A suggestion, to be confirmed by somebody",
    "below": "Below the threshold of the space: it counted as nobody",
    "told": "Told as a match; the thresholds of then are not on record",
    "nobody": "Counted as nobody",
    "redacted": "Erased",
}


@signed_in
@never_cache
@require_GET
@asking
def card(
    request: PageRequest, team: str, call: int, recognition: int, position: int
) -> HttpResponse:
    found = finding_for(request.user, team, call, recognition, position)
    given = Parameters(request.GET)
    form = given.choice("format", ("json",))
    given.demand()
    reason = demand(request, found.team, "evidence", found.pk)
    open_evidence(actor=actor_of(request), finding=found, reason=reason)
    made = evidence.card_of(found, access.visible_records(request.user, found.team))
    if form == "json":
        return JsonResponse(as_json(made), json_dumps_params={"ensure_ascii": False, "indent": 2})
    may_see = Right.GALLERIES in rights_of(request.user, found.team)
    context = {
        "team": found.team,
        "card": made,
        "finding": found,
        "call": found.call,
        "recognition": found.recognition,
        "may_see": may_see,
        "pass": signing.dumps([found.pk, request.user.pk], salt=SALT),
        "sent_words": SHOWN[made.sent.state],
        "matched_words": MATCHED[made.matched],
        "verdict": VERDICTS[made.verdict],
        "role": Role(made.role).label if made.role in Role.values else "",
        "entries": rows_of(made.entries, found.team, visible_targets(request.user, found.team)),
        "reason": reason,
        "unvouched": UNPROVEN,
    }
    return render(request, "history/evidence/card.html", context)


@signed_in
@require_GET
def of_face(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Redirect from a face on a photo to the evidence of its latest recognition."""
    face = face_for(request.user, team, pk)
    finding = evidence.finding_of(face)
    if finding is None:
        raise Http404("No recognition on record found this face.")
    return redirect(address_of(team, finding))


def address_of(team: str, finding: Finding) -> str:
    where = [team, finding.call_id, finding.recognition_id, finding.position]
    return reverse("evidence", args=where)


# --- Its pictures ---


@signed_in
@require_safe
def picture(request: PageRequest, team: str, pk: int, what: str) -> HttpResponseBase:
    """A picture of the card, for the user who opened it. `what` is "sent", "face", or an enrolled
    picture's number."""
    found = finding_by_pk(request.user, team, pk)
    try:
        asked = signing.loads(request.GET.get("pass", ""), salt=SALT, max_age=PICTURES_FOR)
    except signing.BadSignature:
        asked = None
    if asked != [found.pk, request.user.pk]:
        raise Http404("Pictures of evidence are shown with its card.")
    if what in ("sent", "face"):
        kept = evidence.sent_of(found)
        if what == "face" and kept.key:
            return _face(found, kept)
        if kept.key and media.is_first(request, found.recognition):
            fetch_asked_picture(actor=actor_of(request), recognition=found.recognition)
        return _send(request, kept, f"{what}-{pk}")
    visible = access.visible_records(request.user, found.team)
    for one in evidence.card_of(found, visible).pictures:
        if str(one.enrolment.pk) == what:
            if one.enrolment.face_id is None and media.is_first(request, one.enrolment):
                fetch_enrolled_picture(actor=actor_of(request), enrolment=one.enrolment)
            return _send(request, one.kept, f"enrolled-{what}")
    raise Http404("There is no such picture.")


def _send(request: PageRequest, kept: Kept, name: str) -> HttpResponseBase:
    kind = media.kind_of(kept.key) if kept.key else "image/jpeg"
    name = f"{name}.{kind.partition('/')[2]}"
    return media.send_file(
        request, kept.key, kept.found, kind, name=name, cache="private, no-store"
    )


def _face(found: Finding, kept: Kept) -> HttpResponse:
    """Crop the face from the sent picture, with the margin of an enrolment crop."""
    try:
        with stored(kept.key) as file:
            data = pictures.crop_of_sent(file, evidence.box_of(found))
    except (OSError, ValueError, ImageRefused) as error:
        raise Http404("The face can't be cut out of the picture.") from error
    headers = {
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": media.PICTURE_POLICY,
    }
    return HttpResponse(data, content_type="image/webp", headers=headers)


# --- As JSON ---


def as_json(made: Card) -> dict[str, Any]:
    finding, call, recognition = made.finding, made.finding.call, made.finding.recognition
    return {
        "face": {
            "call": call.pk,
            "recognition": recognition.pk,
            "position": finding.position,
            "image": recognition.name,
            "box": [finding.left, finding.top, finding.right, finding.bottom],
            "sent_size": [recognition.width, recognition.height] if recognition.width else None,
            "own_size": [recognition.own_width, recognition.own_height]
            if recognition.own_width
            else None,
            "confidence": finding.confidence,
        },
        "sent": _kept(made.sent),
        "answer": {
            "person_id": finding.told_id,
            "names_vouched_for": {
                key: made.names.get(person.pk)
                for key, person in (
                    ("name_now", made.person),
                    ("merged_into_now", made.canonical),
                    ("runner_up", made.runner_up),
                )
                if person is not None
            },
            "name_now": made.person.name if made.person else None,
            "merged_into_now": made.canonical.name
            if made.canonical and made.person and made.canonical.pk != made.person.pk
            else None,
            "similarity": finding.similarity,
            "runner_up": finding.runner_up,
            "runner_up_similarity": finding.runner_up_similarity,
            "margin": made.margin,
            "verdict": made.verdict,
        },
        "matched": {
            "known": made.matched,
            "sha256": finding.matched_sha256 or None,
            "pictures": [
                {
                    "enrolment": one.enrolment.pk,
                    "is_match": one.is_match,
                    "enrolled_at": one.enrolment.done_at,
                    "state_now": one.enrolment.state,
                    **_kept(one.kept),
                }
                for one in made.pictures
            ],
        },
        "judged_by": {
            "threshold": call.threshold,
            "confirm_threshold": call.confirm_threshold,
            "backend": call.backend,
            "model": call.model,
            "space": call.space.number if call.space else None,
            "space_version": call.space_version,
            "enrolled_people": call.enrolled_people,
            "enrolled_pictures": call.enrolled_pictures,
        },
        "asked": {
            "at": call.started_at,
            "by": call.actor_text,
            "actor": call.actor_id,
            "role": made.role or None,
            "role_vouched_for": made.is_role_told,
            "key": {"name": call.key.name, "prefix": call.key.prefix} if call.key else None,
            "source": call.source,
            "address": call.address,
            "request_id": call.request_id or recognition.request_id,
            "reason": call.reason,
        },
        "before": [_decision(one) for one in made.earlier],
        "since": [_decision(one) for one in made.changes]
        + [
            {
                "at": one.at,
                "by": one.actor_text,
                "kind": one.action,
                "audit_entry": one.pk,
                "vouched_for": "altered" if one in made.doubted else "whole",
            }
            for one in made.entries
        ],
        "integrity": {
            "record": call.digest or None,
            "record_is": made.record,
            "card_is": "altered" if made.is_altered else "as the audit says",
            "not_vouched_for": UNPROVEN,
            **_entry(made.sealed),
        },
    }


def _decision(decision: RecordedDecision) -> dict[str, Any]:
    change = decision.change
    return {
        "at": change.created_at,
        "by": str(change.actor) if change.actor else None,
        "kind": change.kind,
        "person": change.person.name if change.person else None,
        "undone_at": change.undone_at,
        "vouched_for": decision.state,
        "name_vouched_for": decision.name,
    }


def _kept(kept: Kept) -> dict[str, Any]:
    return {
        "picture": kept.state,
        "sha256": kept.digest,
        "sha256_now": kept.found or None,
        "erased_at": kept.at,
    }


def _entry(entry: AuditEntry | None) -> dict[str, Any]:
    if entry is None:
        return {"audit_entry": None}
    return {"audit_entry": entry.pk, "sequence": entry.sequence, "hash": entry.hash or None}


urlpatterns = [
    path("history/<int:call>/evidence/<int:recognition>/<int:position>/", card, name="evidence"),
    path("faces/<int:pk>/evidence", of_face, name="face_evidence"),
    path("media/evidence/<int:pk>/<str:what>", picture, name="media_evidence"),
]
