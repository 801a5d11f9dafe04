"""Where a reviewer sits: their queue, what they may do in it, and what they did last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dashboard.middleware import PageRequest
from dashboard.pages.review.cards import Card, FaceCard, held_by, next_cards
from dashboard.pages.review.place import ALIKE, KINDS, Place
from dashboard.pages.review.roots import standing_for
from persons.access import Right, hidden_from, rights_of
from persons.models import (
    Change,
    ChangedFace,
    Face,
    Gallery,
    Likeness,
    Person,
    Photo,
    Space,
    Team,
    User,
)
from persons.models.changes import ChangeKind
from persons.reviewing import MOST_COUNTED, Key, Queue, best_faces, let_go

AHEAD = 4
"""Cards on the page at once: the one that is shown, and those behind it."""

RECENT = 9
RECENT_CHANGES = 40
"""How far back names are looked for that were given lately."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A request's own view of the review. `gallery` and `space` are those the place names."""

    user: User
    team: Team
    place: Place
    spaces: tuple[Space, ...]
    space: Space | None
    gallery: Gallery | None
    hidden: frozenset[int]
    can_edit: bool

    @property
    def queue(self) -> Queue:
        narrow = [self.space] if self.space else self.spaces
        return Queue(
            user=self.user,
            spaces=tuple(space.pk for space in narrow),
            kinds=self.place.kinds,
            gallery=self.gallery.pk if self.gallery else None,
            hidden=self.hidden,
            unsure_first=self.place.unsure_first,
        )

    def cards(self, *, have: Collection[str] = (), after: str | None = None) -> list[Card]:
        """As many as are missing; what is shown or ready on the page is kept for this user."""
        place = self.place.past(after) if after else self.place
        cards = next_cards(
            self.queue,
            pairs_from=place.pair,
            key=place.key,
            in_faces=place.key is not None,
            has_pairs=place.has_pairs,
            limit=max(0, AHEAD - len(have)),
            have=have,
            holds=self.can_edit,
        )
        if self.can_edit:
            ready = {int(one[1:]) for one in have if one.startswith("f")}
            held = {pk for card in cards if (pk := held_by(card)) is not None}
            if not any(one.startswith("p") for one in have):
                let_go(self.user, but=ready | held)
        return cards

    def card_before(self) -> Place | None:
        """The place from which the face is next that comes last before this one."""
        key = self.place.key
        if key is None:
            return None
        pk = self.queue.before(Key(key.rank, key.pk))
        if pk is None:
            return None
        face = Face.objects.get(pk=pk)
        return self.place.past(str(before_key(self.queue.key_of(face))))


def before_key(key: Key) -> Key:
    """The place right before a face, so that it is the next one."""
    return Key(key.rank, key.pk + 1)


def desk_for(request: PageRequest, team: Team, place: Place) -> Desk:
    """An address that names no gallery or space of the team's narrows to nothing, not to all."""
    used = Gallery.objects.filter(team=team).values("space")
    spaces = tuple(Space.objects.filter(team=team, pk__in=used))
    can_edit = Right.EDIT in rights_of(request.user, team)
    # Whoever decides is shown nothing on which they may not decide.
    hidden = hidden_from(request.user, team, write=can_edit)
    gallery = None
    if place.gallery:
        gallery = (
            Gallery.objects.filter(team=team, slug=place.gallery).exclude(pk__in=hidden).first()
        )
        if gallery is None:
            spaces = ()
            gallery = Gallery(pk=0)
    space = next((one for one in spaces if str(one.number) == place.space), None)
    if place.space and space is None:
        spaces = ()
    return Desk(
        user=request.user,
        team=team,
        place=place,
        spaces=spaces,
        space=space,
        gallery=gallery,
        hidden=hidden,
        can_edit=can_edit,
    )


# --- What waits ---


@dataclass(frozen=True, slots=True)
class Waiting:
    """One kind in the head of the page; `text` is how many, "1,000+" at most."""

    kind: str
    label: str
    count: int

    @property
    def text(self) -> str:
        return capped(self.count)


def capped(count: int) -> str:
    return f"{MOST_COUNTED:,}+" if count >= MOST_COUNTED else f"{count:,}"


def waiting_in(desk: Desk, *, anew: bool = False) -> list[Waiting]:
    counts: dict[str, int] = {
        str(kind): count for kind, count in desk.queue.counts(anew=anew).items()
    }
    counts[ALIKE] = desk.queue.count_pairs()
    return [Waiting(kind, label, counts[kind]) for kind, label in KINDS.items()]


def busy_in(desk: Desk) -> int:
    """Photos that are still being looked at, and may bring faces into this queue."""
    photos = Photo.objects.unfinished().filter(gallery__team=desk.team)
    if desk.gallery is not None:
        photos = photos.filter(gallery=desk.gallery.pk)
    return photos.count()


# --- Names that are one key away ---


@dataclass(frozen=True, slots=True)
class Recent:
    person: Person
    crop: Face | None


def recent_people(desk: Desk, cards: Sequence[Card] = ()) -> list[Recent]:
    """Whom this user named last in these spaces, then those who are on most photos."""
    spaces = desk.queue.spaces
    lately = (
        Change.objects.filter(
            team=desk.team,
            actor=desk.user,
            space__in=spaces,
            kind__in=[ChangeKind.NAME, ChangeKind.CONFIRM],
            person__isnull=False,
        )
        .order_by("-pk")
        .values_list("person", flat=True)[:RECENT_CHANGES]
    )
    pks = list(dict.fromkeys(lately))[:RECENT]
    standing = standing_for(Person.objects.filter(pk__in=pks))
    lately_named = [standing[pk] for pk in pks if pk in standing]
    people = _listed({person.pk: person for person in lately_named}.values())
    pks = [person.pk for person in lately_named]
    if len(people) < RECENT:
        for space in {card.face.space_id for card in cards if isinstance(card, FaceCard)}:
            often = Person.objects.filter(space=space, merged_into=None).exclude(pk__in=pks)
            people += _listed(often.order_by("-face_count", "-pk")[: RECENT - len(people)])
    crops = best_faces([person.pk for person in people], most=1, hidden=desk.hidden)
    return [Recent(person, next(iter(crops[person.pk]), None)) for person in people]


def _listed(people: object) -> list[Person]:
    return [person for person in people if person.label and not person.hidden]  # type: ignore[attr-defined]


# --- What was done last ---


@dataclass(frozen=True, slots=True)
class Done:
    """What the last key did, in words, and the token by which it is undone.

    `c12` is a Change, `d12` a Likeness that was called different, `s0.12` a place that was skipped.
    """

    token: str
    text: str
    crop: Face | None = None
    person: Person | None = None


def last_done(desk: Desk, token: str = "") -> Done | None:
    """Of the token, or else the user's own last change that stands."""
    number = int(token[1:]) if token[1:].isascii() and token[1:].isdigit() else None
    if token.startswith("s"):
        return Done(token, "Skipped")
    if token.startswith("d") and number is not None:
        pair = (
            Likeness.objects.filter(
                pk=number, space__team=desk.team, decision=Likeness.Decision.DIFFERENT
            )
            .select_related("one", "other")
            .first()
        )
        return Done(token, f"{pair.one.name} and {pair.other.name} are two") if pair else None
    changes = Change.objects.filter(team=desk.team, actor=desk.user, undone_at=None)
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
    """`face` is the first that it changed."""
    return Done(f"c{change.pk}", words_of(change), face, change.person)


def words_of(change: Change) -> str:
    """In a few words, what a change said."""
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
