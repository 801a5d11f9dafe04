"""The review, one face after the other. Every decision is a plain form.

A script sends the same forms in the background, shows the next card at once, and fetches more
cards; it names those that it has in `have`. See static/js/review/review.js.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.paging import NO_KEY
from dashboard.pages.photos.naming_progress import naming_progress_of_user
from dashboard.pages.review.cards import Card, FaceCard, PairCard
from dashboard.pages.review.decisions import (
    NOTHING,
    DecisionOutcome,
    decide,
    decide_pair,
    face_of,
    step_back,
    undo_by_token,
)
from dashboard.pages.review.place import QueuePlace
from dashboard.pages.review.review_session import (
    ReviewSession,
    before_key,
    busy_in,
    capped,
    last_done,
    recent_people,
    review_session_for,
    waiting_in,
)
from dashboard.pages.shared import actor_of, fragment, is_fragment, poll_again, signed_in
from persons import access
from persons.access import Right, team_for
from persons.actions.review import Verdict
from persons.audit import Actor
from persons.faces.review_queue import hold, let_go, place_of, remember_place
from persons.inputs.params import NotUnderstood, Parameters
from persons.models import Change

DONE = r"[cd][0-9]{1,19}|s(p?[0-9]{1,19}|[0-9]{1,19}\.[0-9]{1,19})?"
MOST_HELD = 12
MOST_QUEUED = 200
"""Decisions in one request; static/js/review/outbox.js sends no more at once."""

_OF_ANY_CARD = ("undo", "back", "skip", "more")
FACE_ANSWERS = (*Verdict, *_OF_ANY_CARD)
PAIR_ANSWERS = ("same", "different", *_OF_ANY_CARD)
"""What `do` may say; without one, a form names the face or merges the pair."""
"""Forms that are accepted from a page that was left before it had sent them."""


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: PageRequest, team: str) -> HttpResponse:
    if request.method == "POST":
        found = team_for(request.user, team, right=Right.EDIT)
        session = review_session_for(request, found, QueuePlace.of(request.POST))
        if Parameters(request.POST).raw("do") == "rest":
            return _rest(request, session)
        return _answer(request, session)
    found = team_for(request.user, team, right=Right.GALLERIES)
    session = review_session_for(request, found, QueuePlace.of(request.GET))
    if is_fragment(request) and Parameters(request.GET).raw("part") == "found":
        return _found(request, session)
    if not request.GET and (query := _where_it_was(request, session)):
        return HttpResponseRedirect(f"{reverse('review', args=[team])}?{query}")
    return _page(request, session)


def _where_it_was(request: PageRequest, session: ReviewSession) -> str:
    """The query string of the user's last place, or of its queue's beginning if nothing follows.

    "" if there is no usable place.
    """
    query = place_of(request.user, session.team)
    if not query:
        return ""
    try:
        place = QueuePlace.of(QueryDict(query))
    except NotUnderstood:  # it was kept by an earlier version
        return ""
    there = review_session_for(request, session.team, place)
    if place.at and not there.cards():
        return place.beginning
    return place.query()


def _page(
    request: PageRequest,
    session: ReviewSession,
    outcome: DecisionOutcome = NOTHING,
    *,
    status: int = 200,
) -> HttpResponse:
    cards = ([outcome.first] if outcome.first else []) or session.cards()
    remember_place(request.user, session.team, session.place.query())
    token = outcome.done or _token(request.GET)
    context = _context(session, cards) | {
        "card": cards[0] if cards else None,
        "ready": cards[1:],
        "recent": recent_people(session, cards) if cards and session.can_edit else [],
        "done": last_done(session, token) if session.can_edit else None,
        "notice": outcome.notice,
        "error": outcome.error,
        "typed": outcome.typed,
        "galleries": session.visible.galleries().order_by("name")[:200],
    }
    waits = sum(one.count for one in context["waiting"])
    context["busy_count"] = 0 if waits else busy_in(session)
    return render(request, "review/review.html", context, status=status)


def _context(
    session: ReviewSession, cards: Sequence[Card], *, anew: bool | None = None
) -> dict[str, Any]:
    """The context that the page and the script's answer share."""
    # At the end of a queue, cached counts would contradict the empty page: count anew.
    waiting = waiting_in(session, anew=not cards if anew is None else anew)
    shown = [one for one in waiting if session.place.kind in ("", one.kind)]
    total = sum(one.count for one in shown)
    return {
        "team": session.team,
        "place": session.place,
        "gallery": session.gallery if session.gallery and session.gallery.pk else None,
        "space": session.space,
        "spaces": session.spaces,
        "can_edit": session.can_edit,
        "waiting": waiting,
        "total": total,
        "total_text": capped(total),
        "starts": {card.id: _from(session, card) for card in cards},
    }


def _from(session: ReviewSession, card: Card) -> str:
    """The query string of the place at which this card comes next."""
    if isinstance(card, PairCard):
        return session.place.past(f"p{card.likeness.pk + 1}").query()
    return session.place.past(str(before_key(session.queue.key_of(card.face)))).query()


def _answer(request: PageRequest, session: ReviewSession) -> HttpResponse:
    actor = actor_of(request)
    given = Parameters(request.POST)
    do = given.choice("do", PAIR_ANSWERS if "pair" in request.POST else FACE_ANSWERS, Verdict.NAME)
    given.demand()
    if do == "more" and is_fragment(request):
        return _more(request, session)
    if do == "undo":
        outcome = undo_by_token(session, actor, _token(request.POST))
    elif do == "back":
        outcome = step_back(session)
    elif do == "skip":
        outcome = DecisionOutcome(done=f"s{session.place.at}")
    elif "pair" in request.POST:
        outcome = decide_pair(session, actor, do, request.POST)
    else:
        outcome = decide(session, actor, do, request.POST)
    if is_fragment(request):
        return _for_the_script(request, session, outcome)
    if outcome.error:
        return _page(request, session, outcome, status=422)
    if outcome.notice:
        messages.info(request, outcome.notice)
    place = outcome.place or session.place
    done = {"done": outcome.done} if outcome.done else {}
    response = HttpResponseRedirect(
        f"{reverse('review', args=[session.team.slug])}?{place.query(**done)}"
    )
    response.status_code = 303
    return response


def _more(request: PageRequest, session: ReviewSession) -> HttpResponse:
    """More cards and new counts for the script, which asks when it has few left."""
    given = Parameters(request.POST)
    have = given.texts("have", most=MOST_HELD)
    given.demand()
    if not all(re.fullmatch(r"[fp][0-9]{1,19}", one) for one in have):
        raise NotUnderstood({"have": "That is no card of the review."})
    behind = request.POST.get("behind", "")
    if behind and not session.place.past(behind).at:
        raise NotUnderstood({"behind": NO_KEY})
    cards = session.cards(have=have, after=behind)
    context = _context(session, cards) | {"cards": cards, "recent": recent_people(session, cards)}
    return render(request, "review/_more.html", context)


def _found(request: PageRequest, session: ReviewSession) -> HttpResponse:
    """Poll the progress of the last names, and the counts of the queue."""
    progress = naming_progress_of_user(request.user, session.team)
    # The pages of groups show the progress without this queue's counts.
    given = Parameters(request.GET)
    alone = given.flag("alone")
    given.demand()
    context = {} if alone else _context(session, [], anew=False)
    context |= {
        "team": session.team,
        "progress": progress,
        "is_live": any(line.is_busy for line in progress),
        "poll": poll_again(request),
        "alone": alone,
        "oob": not alone,
    }
    return fragment(request, "review/_found.html", context)


def _for_the_script(
    request: PageRequest, session: ReviewSession, outcome: DecisionOutcome
) -> HttpResponse:
    """The outcome of a decision, without what the page has already or fetches separately."""
    place = outcome.place or session.place
    remember_place(request.user, session.team, place.query())
    if not outcome.error and isinstance(outcome.first, FaceCard):
        hold(request.user, [outcome.first.face.pk])
    context = {
        "team": session.team,
        "place": session.place,
        "can_edit": session.can_edit,
        "first": outcome.first,
        "starts": {outcome.first.id: _from(session, outcome.first)} if outcome.first else {},
        "done": outcome.shown or last_done(session, outcome.done),
        "notice": outcome.notice,
        "error": outcome.error,
        "typed": outcome.typed,
    }
    status = 422 if outcome.error else 200
    return render(request, "review/_answer.html", context, status=status)


def _rest(request: PageRequest, session: ReviewSession) -> HttpResponse:
    """Replay the forms that a page had not sent when it was left: `queued`, in order.

    Some may have arrived before, and repeating them is no error. Other failures are shown as
    messages on the next page. An undo without a token undoes the form before it.
    """
    actor = actor_of(request)
    last: str | None = ""
    given = Parameters(request.POST)
    queued = given.texts("queued", most=MOST_QUEUED)
    given.demand()
    for text in queued:
        try:
            last = _replay(request, session, actor, QueryDict(text), last)
        except NotUnderstood as error:  # go on with the other forms
            messages.error(request, str(error))
            last = None
    return HttpResponse(status=204)


def _replay(
    request: PageRequest, session: ReviewSession, actor: Actor, asked: QueryDict, last: str | None
) -> str | None:
    """Replay one form. `last` is the token of the previous form's change.

    Returns the token of this form's change, "" after an undo, or None if nothing was changed.
    """
    given = Parameters(asked)
    do = given.choice("do", PAIR_ANSWERS if "pair" in asked else FACE_ANSWERS, Verdict.NAME)
    given.demand()
    if do == "undo":
        token = _token(asked) or last
        if token is not None:
            undo_by_token(session, actor, token)
        return ""
    act = decide_pair if "pair" in asked else decide
    outcome = act(session, actor, do, asked)
    if outcome.notice and (change := _own_change(session, asked.get("face", ""))):
        return f"c{change.pk}"
    if (said := outcome.error or outcome.notice) and "pair" not in asked:
        messages.error(request, said)
    return outcome.done or None


def _token(asked: QueryDict) -> str:
    """The token of the change that the page made last: see `Done`. Raises NotUnderstood."""
    given = Parameters(asked)
    token = given.matching("done", DONE, "thing that was done")
    given.demand()
    return token


def _own_change(session: ReviewSession, face: str) -> Change | None:
    """The user's own last change of that face, if their decision is the current one."""
    found = face_of(session, face)
    if found is None or found.decided_by_id != session.user.pk:
        return None
    changes = access.changes(session.user, session.team, write=True)
    changes = changes.filter(faces__face=found, actor=session.user, undone_at=None)
    return changes.order_by("-pk").first()


# --- Holding the page's faces ---


@signed_in
@require_POST
def keep(request: PageRequest, team: str) -> HttpResponse:
    """Renew the holds on the faces that the page shows; without faces, release all holds.

    Answers `{"lost": [pk, …]}`: faces that another reviewer holds by now.
    """
    found = team_for(request.user, team, right=Right.EDIT)
    given = Parameters(request.POST)
    pks = given.numbers("face", most=MOST_HELD)
    given.demand()
    shown = list(access.faces(request.user, found, pks, write=True).values_list("pk", flat=True))
    if not pks:
        let_go(request.user)
    mine = hold(request.user, shown)
    return JsonResponse({"lost": [pk for pk in shown if pk not in mine]})


urlpatterns = [
    path("review/", review, name="review"),
    path("review/keep", keep, name="review_keep"),
]
