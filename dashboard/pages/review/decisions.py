"""Decisions of the review and their undo: what each does, and the card that is shown next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.http import QueryDict

from dashboard.pages.review.cards import Card, card_of, pair_card_of
from dashboard.pages.review.place import QueuePlace
from dashboard.pages.review.review_session import Done, ReviewSession, before_key, done_of, words_of
from persons import access
from persons.actions.changes import undo
from persons.actions.people import different_people, forget_difference, merge_people
from persons.actions.review import FaceChanged, Verdict, decide_face
from persons.audit import Actor
from persons.errors import Refused
from persons.faces.review_queue import open_pairs
from persons.inputs.params import Parameters, whole
from persons.models import Change, Face, Likeness
from persons.models.changes import ChangeKind

GONE = "That face is gone: recognition did not find it again."


@dataclass(frozen=True, slots=True)
class DecisionOutcome:
    """The outcome of one decision.

    `first` is the card to show now, if it isn't the next one. `notice` tells why nothing was
    changed, or what was undone. `done` is the token of the change (see `Done`) and `shown` its
    words, if they are known. `place` is the new place, if it changes.
    """

    done: str = ""
    notice: str = ""
    error: str = ""
    typed: str = ""
    first: Card | None = None
    place: QueuePlace | None = None
    shown: Done | None = None


NOTHING = DecisionOutcome()
"""The outcome where nothing was decided."""


def decide(session: ReviewSession, actor: Actor, do: str, asked: QueryDict) -> DecisionOutcome:
    face = face_of(session, asked.get("face", ""))
    if face is None:
        return DecisionOutcome(notice=GONE)
    given = Parameters(asked)
    shown = given.number("shown")
    given.demand()
    label = asked.get("label", "")
    try:
        change = decide_face(
            actor=actor,
            face=face,
            verdict=Verdict(do) if do in list(Verdict) else Verdict.NAME,
            shown=shown,
            label=label,
        )
    except FaceChanged as error:
        return DecisionOutcome(notice=str(error))
    except Refused as error:
        return DecisionOutcome(error=str(error), typed=label, first=card_of(session.queue, face.pk))
    return DecisionOutcome(done=f"c{change.pk}", shown=done_of(change, face))


def decide_pair(session: ReviewSession, actor: Actor, do: str, asked: QueryDict) -> DecisionOutcome:
    pk = whole(asked.get("pair", ""))
    if pk is None:
        return DecisionOutcome(notice="That is not waiting any more.")
    spaces = [space.pk for space in session.spaces]
    pair = open_pairs(spaces).filter(pk=pk).first()
    if pair is None:
        return DecisionOutcome(notice="Somebody was quicker: that is decided already.")
    try:
        if do == "different":
            different_people(actor=actor, one=pair.one, other=pair.other)
            return DecisionOutcome(done=f"d{pair.pk}")
        goes, stays = (pair.one, pair.other)
        if asked.get("keep", "") == str(pair.one.pk):
            goes, stays = stays, goes
        change = merge_people(actor=actor, person=goes, into=stays)
    except Refused as error:
        return DecisionOutcome(error=str(error), first=pair_card_of(session.queue, pair))
    return DecisionOutcome(done=f"c{change.pk}", shown=done_of(change, None))


def undo_by_token(session: ReviewSession, actor: Actor, token: str) -> DecisionOutcome:
    """Undo the token's change, or without one the user's last change, and show its card again."""
    if token.startswith("s"):
        return step_back(session, token[1:])
    if token.startswith("d"):
        return _undo_difference(session, actor, token)
    number = whole(token[1:]) if token else None
    changes = access.changes(
        session.user, session.team, [number or 0] if token else None, write=True
    )
    changes = changes.filter(actor=actor.user, undone_at=None)
    change = changes.order_by("-pk").first()
    if change is None:
        return DecisionOutcome(notice="There is nothing of yours left to undo.")
    try:
        change = undo(actor=actor, change=change)
    except Refused as error:
        return DecisionOutcome(notice=str(error))
    return replace(_shown_again(session, change), notice=f"Taken back: {words_of(change)}.")


def _shown_again(session: ReviewSession, change: Change) -> DecisionOutcome:
    if change.kind == ChangeKind.MERGE:
        people = [change.person_id, change.other_id]
        pair = open_pairs([change.space_id]).filter(one__in=people, other__in=people).first()
        if pair is None:
            return DecisionOutcome()
        return DecisionOutcome(
            first=pair_card_of(session.queue, pair), place=session.place.past(f"p{pair.pk + 1}")
        )
    row = change.faces.order_by("pk").first()
    card = card_of(session.queue, row.face_id) if row else None
    if card is None:
        return DecisionOutcome()
    at = str(before_key(session.queue.key_of(card.face)))
    return DecisionOutcome(first=card, place=session.place.past(at))


def _undo_difference(session: ReviewSession, actor: Actor, token: str) -> DecisionOutcome:
    pair = (
        Likeness.objects.filter(
            pk=whole(token[1:]) or 0,
            space__team=session.team,
            decision=Likeness.Decision.DIFFERENT,
        )
        .select_related("one__space", "other__space")
        .first()
    )
    if pair is None:
        return DecisionOutcome(notice="There is nothing of yours left to undo.")
    try:
        forget_difference(actor=actor, likeness=pair)
    except Refused as error:
        return DecisionOutcome(notice=str(error))
    return DecisionOutcome(
        first=pair_card_of(session.queue, pair),
        place=session.place.past(f"p{pair.pk + 1}"),
        notice="Taken back.",
    )


def step_back(session: ReviewSession, at: str = "") -> DecisionOutcome:
    """Go back to the skipped card `at`, or else to the face before this place."""
    place = session.place.past(at) if at else session.place
    key = place.key
    if at and place.pair is not None:
        pair = open_pairs([space.pk for space in session.spaces]).filter(pk=place.pair).first()
        if pair is not None:
            again = place.past(f"p{pair.pk + 1}")
            return DecisionOutcome(first=pair_card_of(session.queue, pair), place=again)
    if at and key is not None and (card := card_of(session.queue, key.pk)):
        return DecisionOutcome(first=card, place=session.place.past(str(before_key(key))))
    before = session.card_before()
    if before is None:
        return DecisionOutcome(notice="That is the first one.")
    there = replace(session, place=before)
    cards = there.cards()
    return DecisionOutcome(first=cards[0] if cards else None, place=before)


def face_of(session: ReviewSession, text: str) -> Face | None:
    pk = whole(text)
    if pk is None:
        return None
    faces = session.visible.faces_among(Face.objects.filter(space__in=session.spaces, pk=pk))
    face = faces.select_related("photo__gallery", "person").first()
    if face is not None:
        known = {space.pk: space for space in session.spaces}
        face.photo.gallery.space = known.get(face.space_id) or face.photo.gallery.space
    return face
