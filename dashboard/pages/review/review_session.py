"""A reviewer's session: their queue, its counts, recent names, and the last change."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dashboard.middleware import PageRequest
from dashboard.pages.review.cards import Card, FaceCard, held_by, next_cards
from dashboard.pages.review.place import ALIKE, KINDS, QueuePlace
from persons import access
from persons.access import Right, Visible, rights_of
from persons.faces.review_queue import MOST_COUNTED, Queue, QueueKey, best_faces, let_go
from persons.inputs.params import whole
from persons.models import (
    Change,
    ChangedFace,
    Face,
    Gallery,
    Likeness,
    Person,
    Space,
    Team,
    User,
)
from persons.models.changes import ChangeKind

AHEAD = 4
"""Cards on the page at once: the shown one and those behind it."""

RECENT = 9
RECENT_CHANGES = 40
"""The user's last changes, in which recent names are looked for."""


@dataclass(frozen=True, slots=True)
class ReviewSession:
    """The review as one request sees it. `gallery` and `space` are those that `place` names.

    A place that names an unknown gallery or space has no `spaces`, and so an empty queue.
    """

    user: User
    team: Team
    place: QueuePlace
    spaces: tuple[Space, ...]
    space: Space | None
    gallery: Gallery | None
    visible: Visible
    can_edit: bool

    @property
    def queue(self) -> Queue:
        narrow = [self.space] if self.space else self.spaces
        return Queue(
            user=self.user,
            spaces=tuple(space.pk for space in narrow),
            kinds=self.place.kinds,
            gallery=self.gallery.pk if self.gallery else None,
            visible=self.visible,
            unsure_first=self.place.unsure_first,
        )

    def cards(self, *, have: Collection[str] = (), after: str | None = None) -> list[Card]:
        """The cards that a page with `have` still needs, up to AHEAD in all.

        For editors, the page's cards are held. Their other holds are released, unless the page
        has a pair, whose held face isn't known here.
        """
        place = self.place.past(after) if after else self.place
        cards = next_cards(
            self.queue,
            place,
            limit=max(0, AHEAD - len(have)),
            have=have,
            holds=self.can_edit,
        )
        if self.can_edit:
            ready = {pk for one in have if one[:1] == "f" and (pk := whole(one[1:])) is not None}
            held = {pk for card in cards if (pk := held_by(card)) is not None}
            if not any(one.startswith("p") for one in have):
                let_go(self.user, but=ready | held)
        return cards

    def card_before(self) -> QueuePlace | None:
        """The place at which the face before this place comes next; None if there is none."""
        key = self.place.key
        if key is None:
            return None
        pk = self.queue.before(QueueKey(key.rank, key.pk))
        if pk is None:
            return None
        face = Face.objects.get(pk=pk)
        return self.place.past(str(before_key(self.queue.key_of(face))))


def before_key(key: QueueKey) -> QueueKey:
    """The key right before a face, so that the face comes next."""
    return QueueKey(key.rank, key.pk + 1)


def review_session_for(request: PageRequest, team: Team, place: QueuePlace) -> ReviewSession:
    """The session for a place.

    A place with a gallery or space that the team doesn't have gives an empty queue, not the full
    one.
    """
    used = Gallery.objects.filter(team=team).values("space")
    spaces = tuple(Space.objects.filter(team=team, pk__in=used))
    can_edit = Right.EDIT in rights_of(request.user, team)
    visible = access.visible_to_decide(request.user, team)
    gallery = None
    if place.gallery:
        gallery = visible.galleries().filter(slug=place.gallery).first()
        if gallery is None:
            spaces = ()
            gallery = Gallery(pk=0)
    space = next((one for one in spaces if str(one.number) == place.space), None)
    if place.space and space is None:
        spaces = ()
    return ReviewSession(
        user=request.user,
        team=team,
        place=place,
        spaces=spaces,
        space=space,
        gallery=gallery,
        visible=visible,
        can_edit=can_edit,
    )


# --- Counts ---


@dataclass(frozen=True, slots=True)
class Waiting:
    """One kind in the page's header, with its count. `text` is capped, such as "1,000+"."""

    kind: str
    label: str
    count: int

    @property
    def text(self) -> str:
        return capped(self.count)


def capped(count: int) -> str:
    return f"{MOST_COUNTED:,}+" if count >= MOST_COUNTED else f"{count:,}"


def waiting_in(session: ReviewSession, *, anew: bool = False) -> list[Waiting]:
    counts: dict[str, int] = {
        str(kind): count for kind, count in session.queue.counts(anew=anew).items()
    }
    counts[ALIKE] = session.queue.count_pairs()
    return [Waiting(kind, label, counts[kind]) for kind, label in KINDS.items()]


def busy_in(session: ReviewSession) -> int:
    """Photos that are still being recognised and may add faces to this queue."""
    photos = session.visible.photos().unfinished()
    if session.gallery is not None:
        photos = photos.filter(gallery=session.gallery.pk)
    return photos.count()


# --- Recent names, by shortcut ---


@dataclass(frozen=True, slots=True)
class Recent:
    person: Person
    crop: Face | None


def recent_people(session: ReviewSession, cards: Sequence[Card] = ()) -> list[Recent]:
    """Up to RECENT people for shortcuts: those this user named last, then those with most faces."""
    spaces = session.queue.spaces
    lately = (
        Change.objects.filter(
            team=session.team,
            actor=session.user,
            space__in=spaces,
            kind__in=[ChangeKind.NAME, ChangeKind.CONFIRM],
            person__isnull=False,
        )
        .order_by("-pk")
        .values_list("person", flat=True)[:RECENT_CHANGES]
    )
    pks = list(dict.fromkeys(lately))[:RECENT]
    now = Person.objects.select_related("canonical").in_bulk(pks)
    lately_named = [now[pk].canonical for pk in pks if pk in now]
    people = _listed({person.pk: person for person in lately_named}.values())
    pks = [person.pk for person in lately_named]
    if len(people) < RECENT:
        for space in {card.face.space_id for card in cards if isinstance(card, FaceCard)}:
            often = Person.objects.filter(space=space, merged_into=None).exclude(pk__in=pks)
            people += _listed(often.order_by("-face_count", "-pk")[: RECENT - len(people)])
    crops = best_faces([person.pk for person in people], most=1, visible=session.visible)
    return [Recent(person, next(iter(crops[person.pk]), None)) for person in people]


def _listed(people: object) -> list[Person]:
    return [person for person in people if person.label and not person.hidden]  # type: ignore[attr-defined]


# --- The last change ---


@dataclass(frozen=True, slots=True)
class Done:
    """The last change in words, and the token that undoes it.

    `c12` is a Change, `d12` a Likeness decided as different, `s0.12` a skipped place.
    """

    token: str
    text: str
    crop: Face | None = None
    person: Person | None = None


def last_done(session: ReviewSession, token: str = "") -> Done | None:
    """The token's change, or without one the user's last change that isn't undone."""
    number = whole(token[1:])
    if token.startswith("s"):
        return Done(token, "Skipped")
    if token.startswith("d") and number is not None:
        pair = (
            Likeness.objects.filter(
                pk=number, space__team=session.team, decision=Likeness.Decision.DIFFERENT
            )
            .select_related("one", "other")
            .first()
        )
        return Done(token, f"{pair.one.name} and {pair.other.name} are two") if pair else None
    changes = access.changes(session.user, session.team, write=session.can_edit)
    changes = changes.filter(actor=session.user, undone_at=None)
    if number is not None:
        changes = changes.filter(pk=number)
    change = changes.select_related("person__space", "other__space").order_by("-pk").first()
    if change is None:
        return None
    row = (
        ChangedFace.objects.filter(change=change)
        .select_related("face__photo")
        .order_by("pk")
        .first()
    )
    return done_of(change, row.face if row else None)


def done_of(change: Change, face: Face | None) -> Done:
    """`face` is the first face that the change touched."""
    return Done(f"c{change.pk}", words_of(change), face, change.person)


def words_of(change: Change) -> str:
    """A change in a few words."""
    name = change.person.name if change.person else "somebody"
    many = f"{change.face_count:,} faces" if change.face_count != 1 else ""
    match change.kind:
        case ChangeKind.NAME | ChangeKind.CONFIRM:
            return f"{many} are {name}" if many else f"This is {name}"
        case ChangeKind.REJECT:
            return f"{many} are not {name}" if many else f"Not {name}"
        case ChangeKind.IGNORE:
            return f"{many} ignored" if many else "Ignored"
        case ChangeKind.CLEAR:
            return f"{many} cleared" if many else "Cleared"
        case ChangeKind.SPLIT:
            return f"{many or 'One face'} split off as {name}"
        case _:
            other = change.other.name if change.other else "another"
            return f"{name} is {other}"
