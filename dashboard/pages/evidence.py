"""The evidence of one recognised face: a card that prints on one page, and the same as JSON."""

from __future__ import annotations

import io
from typing import Any

from django.core import signing
from django.http import Http404, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe
from PIL import Image

from dashboard.middleware import PageRequest
from dashboard.pages import media
from dashboard.pages.audit import rows_of
from dashboard.pages.reasons import asking, demand
from dashboard.pages.shared import actor_of, signed_in
from persons import evidence, images
from persons.access import (
    Right,
    face_for,
    finding_by_pk,
    finding_for,
    records_hidden_from,
    rights_of,
)
from persons.actions.records import open_evidence
from persons.discretion import entries_closed_to
from persons.evidence import Card, Kept
from persons.models import AuditEntry, Change, Finding, Role
from persons.reasons import KEPT
from persons.storage import stored

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
    reason = demand(request, found.team, "evidence", found.pk)
    open_evidence(actor=actor_of(request), finding=found, reason=reason)
    hidden = records_hidden_from(request.user, found.team)
    made = evidence.card_of(found, hidden=hidden)
    if request.GET.get("format") == "json":
        return JsonResponse(as_json(made), json_dumps_params={"ensure_ascii": False, "indent": 2})
    may_see = Right.GALLERIES in rights_of(request.user, found.team)
    closed = entries_closed_to(request.user, found.team, made.entries)
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
        "entries": rows_of(made.entries, found.team, may_see=may_see, closed=closed),
        "reason": reason,
    }
    return render(request, "evidence/card.html", context)


@signed_in
@require_GET
def of_face(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """From a face on a photo to the evidence of what the engine said of it last."""
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
    """`what` is "sent", "face", or an enrolled picture's number; for whoever opened the card."""
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
        return _send(request, kept, f"{what}-{pk}")
    hidden = records_hidden_from(request.user, found.team)
    for one in evidence.card_of(found, hidden=hidden).pictures:
        if str(one.enrolment.pk) == what:
            return _send(request, one.kept, f"enrolled-{what}")
    raise Http404("There is no such picture.")


def _send(request: PageRequest, kept: Kept, name: str) -> HttpResponseBase:
    kind = media.kind_of(kept.key) if kept.key else "image/jpeg"
    name = f"{name}.{kind.partition('/')[2]}"
    return media.send_file(
        request, kept.key, kept.found, kind, name=name, cache="private, no-store"
    )


def _face(found: Finding, kept: Kept) -> HttpResponse:
    """Cut out of the picture as it was sent, with as much around it as an enrolled crop has."""
    try:
        with stored(kept.key) as file, Image.open(io.BytesIO(file.read())) as whole:
            data = images.crop_face(whole.convert("RGB"), evidence.box_of(found))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
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
            "confidence": finding.confidence,
        },
        "sent": _kept(made.sent),
        "answer": {
            "person_id": finding.told_id,
            "name_now": made.person.name if made.person else None,
            "merged_into_now": made.root.name
            if made.root and made.person and made.root.pk != made.person.pk
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
            "key": {"name": call.key.name, "prefix": call.key.prefix} if call.key else None,
            "source": call.source,
            "address": call.address,
            "request_id": call.request_id or recognition.request_id,
            "reason": call.reason,
        },
        "before": [_decision(one.change) for one in made.earlier],
        "since": [_decision(one.change) for one in made.changes]
        + [
            {"at": one.at, "by": one.actor_text, "kind": one.action, "audit_entry": one.pk}
            for one in made.entries
        ],
        "integrity": {
            "record": call.digest or None,
            "record_is": made.record,
            **_entry(made.sealed),
        },
    }


def _decision(change: Change) -> dict[str, Any]:
    return {
        "at": change.created_at,
        "by": str(change.actor) if change.actor else None,
        "kind": change.kind,
        "person": change.person.name if change.person else None,
        "undone_at": change.undone_at,
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
