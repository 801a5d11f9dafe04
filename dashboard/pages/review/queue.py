"""The review, one face after the other.

Every decision is a plain form. A script sends the same forms in the background, shows the next card
at once, and asks for those behind the ones it `have`s: see static/js/review.js.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.looking import looking_for_named
from dashboard.pages.review.cards import Card, FaceCard, PairCard, card_of, pair_card_of
from dashboard.pages.review.desk import (
    Desk,
    Done,
    before_key,
    busy_in,
    capped,
    desk_for,
    done_of,
    last_done,
    recent_people,
    waiting_in,
    words_of,
)
from dashboard.pages.review.place import Place
from dashboard.pages.shared import actor_of, fragment, is_fragment, poll_again, signed_in
from persons.access import Right, team_for
from persons.actions.changes import undo
from persons.actions.people import different_people, forget_difference, merge_people
from persons.actions.review import Quicker, Verdict, decide_face
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Change, Face, Gallery, Likeness
from persons.models.changes import ChangeKind
from persons.reviewing import hold, let_go, open_pairs, place_of, remember_place

GONE = "That face is gone: recognition did not find it again."
MOST_HELD = 12
MOST_QUEUED = 200
"""Of what a page had not sent when it was left."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a key. `first` is the card to look at now, where it is not just the next.

    `notice` tells that nothing was changed, and why; `done` is the token of what was, and `shown`
    how that is told, where it is known.
    """

    done: str = ""
    notice: str = ""
    error: str = ""
    typed: str = ""
    first: Card | None = None
    place: Place | None = None
    shown: Done | None = None


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: PageRequest, team: str) -> HttpResponse:
    if request.method == "POST":
        found = team_for(request.user, team, right=Right.EDIT)
        desk = desk_for(request, found, Place.of(request.POST))
        if request.POST.get("do") == "rest":
            return _rest(request, desk)
        return _answer(request, desk)
    found = team_for(request.user, team, right=Right.GALLERIES)
    desk = desk_for(request, found, Place.of(request.GET))
    if request.GET.get("part") == "found" and is_fragment(request):
        return _found(request, desk)
    if not request.GET and (query := _where_it_was(request, desk)):
        return HttpResponseRedirect(f"{reverse('review', args=[team])}?{query}")
    return _page(request, desk)


def _where_it_was(request: PageRequest, desk: Desk) -> str:
    """The query of where this user left; of that queue's beginning, if there is no more behind."""
    query = place_of(request.user, desk.team)
    if not query:
        return ""
    place = Place.of(QueryDict(query))
    there = desk_for(request, desk.team, place)
    if place.at and not there.cards():
        return place.beginning
    return place.query()


def _page(
    request: PageRequest, desk: Desk, outcome: Outcome = Outcome(), *, status: int = 200
) -> HttpResponse:
    cards = ([outcome.first] if outcome.first else []) or desk.cards()
    remember_place(request.user, desk.team, desk.place.query())
    token = outcome.done or request.GET.get("done", "")
    context = _context(desk, cards) | {
        "card": cards[0] if cards else None,
        "ready": cards[1:],
        "recent": recent_people(desk, cards) if cards and desk.can_edit else [],
        "done": last_done(desk, token) if desk.can_edit else None,
        "notice": outcome.notice,
        "error": outcome.error,
        "typed": outcome.typed,
        "galleries": Gallery.objects.filter(team=desk.team)
        .exclude(pk__in=desk.hidden)
        .order_by("name")[:200],
    }
    waits = sum(one.count for one in context["waiting"])
    context["busy_count"] = 0 if waits else busy_in(desk)
    return render(request, "review/review.html", context, status=status)


def _context(desk: Desk, cards: Sequence[Card], *, anew: bool | None = None) -> dict[str, Any]:
    """What the page and the script's answer share."""
    # A queue that has come to its end is not said to be full.
    waiting = waiting_in(desk, anew=not cards if anew is None else anew)
    shown = [one for one in waiting if desk.place.kind in ("", one.kind)]
    total = sum(one.count for one in shown)
    return {
        "team": desk.team,
        "desk": desk,
        "place": desk.place,
        "gallery": desk.gallery if desk.gallery and desk.gallery.pk else None,
        "space": desk.space,
        "spaces": desk.spaces,
        "can_edit": desk.can_edit,
        "waiting": waiting,
        "total": total,
        "total_text": capped(total),
        "starts": {card.id: _from(desk, card) for card in cards},
    }


def _from(desk: Desk, card: Card) -> str:
    """The query of the place where this card is the next one."""
    if isinstance(card, PairCard):
        return desk.place.past(f"p{card.likeness.pk + 1}").query()
    return desk.place.past(str(before_key(desk.queue.key_of(card.face)))).query()


def _answer(request: PageRequest, desk: Desk) -> HttpResponse:
    actor = actor_of(request)
    do = request.POST.get("do", Verdict.NAME)
    if do == "more" and is_fragment(request):
        return _more(request, desk)
    if do == "undo":
        outcome = _undo(desk, actor, request.POST.get("done", ""))
    elif do == "back":
        outcome = _back(desk)
    elif do == "skip":
        outcome = Outcome(done=f"s{desk.place.at}")
    elif "pair" in request.POST:
        outcome = _decide_pair(desk, actor, do, request.POST)
    else:
        outcome = _decide(desk, actor, do, request.POST)
    if is_fragment(request):
        return _for_the_script(request, desk, outcome)
    if outcome.error:
        return _page(request, desk, outcome, status=422)
    if outcome.notice:
        messages.info(request, outcome.notice)
    place = outcome.place or desk.place
    done = {"done": outcome.done} if outcome.done else {}
    response = HttpResponseRedirect(
        f"{reverse('review', args=[desk.team.slug])}?{place.query(**done)}"
    )
    response.status_code = 303
    return response


def _more(request: PageRequest, desk: Desk) -> HttpResponse:
    """The cards that the page has not, and what else moved: asked for when few are left."""
    have = [one for one in request.POST.getlist("have") if one[1:].isdigit()][:MOST_HELD]
    cards = desk.cards(have=have, after=request.POST.get("behind", ""))
    context = _context(desk, cards) | {"cards": cards, "recent": recent_people(desk, cards)}
    return render(request, "review/_more.html", context)


def _found(request: PageRequest, desk: Desk) -> HttpResponse:
    """What became of the last names, and how much waits by now."""
    looking = looking_for_named(request.user, desk.team)
    # The groups show who was found, and nothing of this queue.
    alone = bool(request.GET.get("alone"))
    context = {} if alone else _context(desk, [], anew=False)
    context |= {
        "team": desk.team,
        "looking": looking,
        "is_live": any(line.is_busy for line in looking),
        "poll": poll_again(request),
        "alone": alone,
        "oob": not alone,
    }
    return fragment(request, "review/_found.html", context)


def _for_the_script(request: PageRequest, desk: Desk, outcome: Outcome) -> HttpResponse:
    """What became of a key, and nothing that the page has already or asks for by itself."""
    place = outcome.place or desk.place
    remember_place(request.user, desk.team, place.query())
    if not outcome.error and isinstance(outcome.first, FaceCard):
        hold(request.user, [outcome.first.face.pk])
    context = {
        "team": desk.team,
        "place": desk.place,
        "can_edit": desk.can_edit,
        "first": outcome.first,
        "starts": {outcome.first.id: _from(desk, outcome.first)} if outcome.first else {},
        "done": outcome.shown or last_done(desk, outcome.done),
        "notice": outcome.notice,
        "error": outcome.error,
        "typed": outcome.typed,
    }
    status = 422 if outcome.error else 200
    return render(request, "review/_answer.html", context, status=status)


def _rest(request: PageRequest, desk: Desk) -> HttpResponse:
    """What a page had not sent when it was left: its forms as `queued`, in order.

    Some may have arrived before, which is no news; what else could not be done is told by the next
    page. An undo without a token is of what was done last.
    """
    actor = actor_of(request)
    last: str | None = ""
    for text in request.POST.getlist("queued")[:MOST_QUEUED]:
        asked = QueryDict(text)
        do = asked.get("do", Verdict.NAME)
        if do == "undo":
            token = asked.get("done", "") or last
            if token is not None:
                _undo(desk, actor, token)
            last = ""
            continue
        decide = _decide_pair if "pair" in asked else _decide
        outcome = decide(desk, actor, do, asked)
        last = outcome.done or None
        if outcome.notice and (change := _own_change(desk, asked.get("face", ""))):
            last = f"c{change.pk}"
        elif (said := outcome.error or outcome.notice) and "pair" not in asked:
            messages.error(request, said)
    return HttpResponse(status=204)


def _own_change(desk: Desk, face: str) -> Change | None:
    """The user's own last word on that face, if it stands."""
    found = _face(desk, face)
    if found is None or found.decided_by_id != desk.user.pk:
        return None
    changes = Change.objects.filter(faces__face=found, actor=desk.user, undone_at=None)
    return changes.order_by("-pk").first()


# --- What a key does ---


def _decide(desk: Desk, actor: Actor, do: str, asked: QueryDict) -> Outcome:
    face = _face(desk, asked.get("face", ""))
    if face is None:
        return Outcome(notice=GONE)
    shown = asked.get("shown", "")
    label = asked.get("label", "")
    try:
        change = decide_face(
            actor=actor,
            face=face,
            verdict=Verdict(do) if do in list(Verdict) else Verdict.NAME,
            shown=int(shown) if shown.isascii() and shown.isdigit() and len(shown) < 19 else None,
            label=label,
        )
    except Quicker as error:
        return Outcome(notice=str(error))
    except Refused as error:
        return Outcome(error=str(error), typed=label, first=card_of(desk.queue, face.pk))
    return Outcome(done=f"c{change.pk}", shown=done_of(change, face))


def _decide_pair(desk: Desk, actor: Actor, do: str, asked: QueryDict) -> Outcome:
    pk = asked.get("pair", "")
    if not (pk.isascii() and pk.isdigit() and len(pk) < 19):
        return Outcome(notice="That is not waiting any more.")
    spaces = [space.pk for space in desk.spaces]
    pair = open_pairs(spaces).filter(pk=int(pk)).first()
    if pair is None:
        return Outcome(notice="Somebody was quicker: that is decided already.")
    try:
        if do == "different":
            different_people(actor=actor, one=pair.one, other=pair.other)
            return Outcome(done=f"d{pair.pk}")
        goes, stays = (pair.one, pair.other)
        if asked.get("keep", "") == str(pair.one.pk):
            goes, stays = stays, goes
        change = merge_people(actor=actor, person=goes, into=stays)
    except Refused as error:
        return Outcome(error=str(error), first=pair_card_of(desk.queue, pair))
    return Outcome(done=f"c{change.pk}", shown=done_of(change, None))


def _undo(desk: Desk, actor: Actor, token: str) -> Outcome:
    """Take back what the token says, or the user's own last change, and show it again."""
    if token.startswith("s"):
        return _back(desk, token[1:])
    if token.startswith("d"):
        return _undo_difference(desk, actor, token)
    changes = Change.objects.filter(team=desk.team, actor=actor.user, undone_at=None)
    if token[1:].isascii() and token[1:].isdigit():
        changes = changes.filter(pk=int(token[1:19]))
    change = changes.order_by("-pk").first()
    if change is None:
        return Outcome(notice="There is nothing of yours left to undo.")
    try:
        change = undo(actor=actor, change=change)
    except Refused as error:
        return Outcome(notice=str(error))
    return replace(_shown_again(desk, change), notice=f"Taken back: {words_of(change)}.")


def _shown_again(desk: Desk, change: Change) -> Outcome:
    if change.kind == ChangeKind.MERGE:
        people = [change.person_id, change.other_id]
        pair = open_pairs([change.space_id]).filter(one__in=people, other__in=people).first()
        if pair is None:
            return Outcome()
        return Outcome(
            first=pair_card_of(desk.queue, pair), place=desk.place.past(f"p{pair.pk + 1}")
        )
    row = change.faces.order_by("pk").first()
    card = card_of(desk.queue, row.face_id) if row else None
    if card is None:
        return Outcome()
    at = str(before_key(desk.queue.key_of(card.face)))
    return Outcome(first=card, place=desk.place.past(at))


def _undo_difference(desk: Desk, actor: Actor, token: str) -> Outcome:
    pk = token[1:19]
    pair = (
        Likeness.objects.filter(
            pk=int(pk) if pk.isascii() and pk.isdigit() else 0,
            space__team=desk.team,
            decision=Likeness.Decision.DIFFERENT,
        )
        .select_related("one__space", "other__space")
        .first()
    )
    if pair is None:
        return Outcome(notice="There is nothing of yours left to undo.")
    try:
        forget_difference(actor=actor, likeness=pair)
    except Refused as error:
        return Outcome(notice=str(error))
    return Outcome(
        first=pair_card_of(desk.queue, pair),
        place=desk.place.past(f"p{pair.pk + 1}"),
        notice="Taken back.",
    )


def _back(desk: Desk, at: str = "") -> Outcome:
    """To the card that was skipped, or else to the face before this place."""
    place = desk.place.past(at) if at else desk.place
    key = place.key
    if at and place.pair is not None:
        pair = open_pairs([space.pk for space in desk.spaces]).filter(pk=place.pair).first()
        if pair is not None:
            again = place.past(f"p{pair.pk + 1}")
            return Outcome(first=pair_card_of(desk.queue, pair), place=again)
    if at and key is not None and (card := card_of(desk.queue, key.pk)):
        return Outcome(first=card, place=desk.place.past(str(before_key(key))))
    before = desk.card_before()
    if before is None:
        return Outcome(notice="That is the first one.")
    there = replace(desk, place=before)
    cards = there.cards()
    return Outcome(first=cards[0] if cards else None, place=before)


def _face(desk: Desk, text: str) -> Face | None:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        return None
    faces = Face.objects.filter(space__in=desk.spaces, pk=int(text))
    face = faces.outside(desk.hidden).select_related("photo__gallery", "person").first()
    if face is not None:
        known = {space.pk: space for space in desk.spaces}
        face.photo.gallery.space = known.get(face.space_id) or face.photo.gallery.space
    return face


# --- Holding what is on the page ---


@signed_in
@require_POST
def keep(request: PageRequest, team: str) -> HttpResponse:
    """The page still shows these faces: they stay with whoever looks at them. None: it was left.

    Answers which of them somebody else has meanwhile.
    """
    found = team_for(request.user, team, right=Right.EDIT)
    asked = [pk for pk in request.POST.getlist("face") if pk.isascii() and pk.isdigit()]
    pks = [int(pk) for pk in asked[:MOST_HELD] if len(pk) < 19]
    faces = Face.objects.filter(space__team=found, pk__in=pks).values_list("pk", flat=True)
    shown = list(faces)
    if not pks:
        let_go(request.user)
    mine = hold(request.user, shown)
    return JsonResponse({"lost": [pk for pk in shown if pk not in mine]})


urlpatterns = [
    path("review/", review, name="review"),
    path("review/keep", keep, name="review_keep"),
]
