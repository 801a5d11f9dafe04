"""What the review shows of one face, or of two people who may be one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from dashboard.pages.review.roots import standing_for
from persons.models import Decision, Face, Likeness, Person, Review
from persons.reviewing import MOST_COUNTED, Key, Queue, best_faces, count_all, hold
from persons.vision.envelope import person_id_of

COMPARED = 5
"""Crops of the suggested person beside the face."""


@dataclass(frozen=True, slots=True)
class FaceCard:
    """`suggested` is who it may be; `is_guess`: below the space's threshold, so nobody was found.

    `rivals` are faces of the same photo that are said to be the same person, `known` those of the
    photo's other people.
    """

    face: Face
    at: str
    suggested: Person | None
    is_guess: bool
    crops: Sequence[Face]
    rivals: Sequence[Face] = field(default_factory=list)
    known: Sequence[Face] = field(default_factory=list)

    is_pair = False

    @property
    def id(self) -> str:
        return f"f{self.face.pk}"

    @property
    def shown(self) -> int | None:
        """Whom a confirmation confirms."""
        return self.face.person_id

    @property
    def can_reject(self) -> bool:
        return self.face.person_id is not None


@dataclass(frozen=True, slots=True)
class Side:
    """One of two people who may be one."""

    person: Person
    crops: Sequence[Face]
    count: int

    @property
    def text(self) -> str:
        return f"{MOST_COUNTED:,}+" if self.count >= MOST_COUNTED else f"{self.count:,}"


@dataclass(frozen=True, slots=True)
class PairCard:
    likeness: Likeness
    sides: tuple[Side, Side]

    is_pair = True

    @property
    def id(self) -> str:
        return f"p{self.likeness.pk}"

    @property
    def at(self) -> str:
        return f"p{self.likeness.pk}"

    @property
    def keeps(self) -> Side:
        """Who stays if they are one: whoever has a name, else whoever has more faces."""
        return min(self.sides, key=_stays)

    @property
    def goes(self) -> Side:
        return next(side for side in self.sides if side is not self.keeps)


def _stays(side: Side) -> tuple[bool, int, int]:
    return (not side.person.label, -side.count, side.person.pk)


Card = FaceCard | PairCard


def next_cards(
    queue: Queue,
    *,
    pairs_from: int | None,
    key: Key | None,
    in_faces: bool,
    has_pairs: bool,
    limit: int,
    have: Collection[str],
    holds: bool,
) -> list[Card]:
    """Up to `limit` cards from a place on: pairs first, then faces, without those in `have`.

    With `holds` what is shown is kept for the user, and what others look at is left out.
    """
    cards: list[Card] = []
    if has_pairs and not in_faces:
        pairs = [
            pair for pair in queue.pairs(pairs_from, limit + len(have)) if f"p{pair.pk}" not in have
        ]
        cards += _pair_cards(queue, pairs[:limit], holds=holds)
    wanted = limit - len(cards)
    if wanted <= 0 or not queue.kinds:
        return cards
    faces = {int(one[1:]) for one in have if one.startswith("f")}
    if not holds:
        return [*cards, *_face_cards(queue, queue.after(key, wanted, but=faces))]
    mine: list[int] = []
    # Another reviewer may take one between the question and the hold: then there is a next one.
    for _ in range(3):
        found = queue.after(key, wanted - len(mine), but={*faces, *mine})
        kept = hold(queue.user, found)
        mine += [pk for pk in found if pk in kept]
        if len(mine) == wanted or len(kept) == len(found):
            break
    return [*cards, *_face_cards(queue, mine)]


def card_of(queue: Queue, pk: int) -> FaceCard | None:
    """The card of one face, whatever there is to do about it."""
    return next(iter(_face_cards(queue, [pk])), None)


def pair_card_of(queue: Queue, pair: Likeness) -> PairCard:
    return _pair_cards(queue, [pair], holds=False)[0]


def _pair_cards(queue: Queue, pairs: Sequence[Likeness], *, holds: bool) -> list[PairCard]:
    people = {pk for pair in pairs for pk in (pair.one_id, pair.other_id)}
    crops = best_faces(people, most=COMPARED + 1, hidden=queue.hidden) if people else {}
    counts = _counts(people, queue.hidden)

    def side(person: Person) -> Side:
        return Side(person, crops[person.pk], counts[person.pk])

    cards = [PairCard(pair, (side(pair.one), side(pair.other))) for pair in pairs]
    if not holds:
        return cards
    # Who looks at a pair holds the first face of it.
    faces = {card.likeness.pk: _held_face(card) for card in cards}
    mine = hold(queue.user, [pk for pk in faces.values() if pk is not None])
    return [card for card in cards if faces[card.likeness.pk] in {None, *mine}]


def _counts(person_pks: Collection[int], hidden: Collection[int]) -> dict[int, int]:
    """How many faces each has, up to MOST_COUNTED."""
    pks = sorted(person_pks)
    faces = [Face.objects.filter(person=pk).outside(hidden) for pk in pks]
    counted = count_all([some.order_by("-pk") for some in faces])
    return dict(zip(pks, counted, strict=True))


def _held_face(card: PairCard) -> int | None:
    return next((face.pk for side in card.sides for face in side.crops[:1]), None)


def held_by(card: Card) -> int | None:
    """The face that whoever looks at this card holds."""
    return card.face.pk if isinstance(card, FaceCard) else _held_face(card)


def _face_cards(queue: Queue, pks: Sequence[int]) -> list[FaceCard]:
    """In the order of `pks`, in five queries."""
    if not pks:
        return []
    faces = Face.objects.filter(pk__in=pks).outside(queue.hidden)
    with_photos = faces.select_related("photo__gallery__team", "photo__gallery__space", "person")
    by_pk = {face.pk: face for face in with_photos}
    shown = [by_pk[pk] for pk in pks if pk in by_pk]
    on_photo: dict[int, list[Face]] = defaultdict(list)
    others = Face.objects.filter(photo__in={face.photo_id for face in shown}, missing=False)
    for other in others.select_related("person"):
        on_photo[other.photo_id].append(other)
    guesses = _guesses(shown)
    everybody = [other for some in on_photo.values() for other in some]
    standing = standing_for(face.person for face in [*shown, *everybody])
    for other in everybody:
        other.person = standing[other.person.pk] if other.person else None
    suggested = {
        face.pk: standing[face.person.pk] if face.person else guesses.get(face.pk) for face in shown
    }
    people = {person.pk for person in suggested.values() if person}
    crops = best_faces(people, most=COMPARED + 2, hidden=queue.hidden) if people else {}
    return [
        _face_card(queue, face, suggested[face.pk], crops, on_photo[face.photo_id])
        for face in shown
    ]


def _face_card(
    queue: Queue,
    face: Face,
    suggested: Person | None,
    crops: dict[int, list[Face]],
    on_photo: Sequence[Face],
) -> FaceCard:
    others = [other for other in on_photo if other.pk != face.pk and other.person_id]
    who = suggested.pk if suggested and face.person_id else None
    rivals = [other for other in others if other.person_id == who]
    theirs = crops.get(suggested.pk, []) if suggested else []
    return FaceCard(
        face=face,
        at=str(queue.key_of(face)),
        suggested=suggested,
        is_guess=face.person_id is None,
        crops=[crop for crop in theirs if crop.pk != face.pk][:COMPARED],
        rivals=rivals,
        known=[other for other in others if other not in rivals],
    )


def _guesses(faces: Sequence[Face]) -> dict[int, Person]:
    """By face, whom Vision took it for where that was not enough to say so, and nobody said no."""
    wanted: dict[tuple[int, int], list[int]] = defaultdict(list)
    for face in faces:
        person_id = person_id_of(face.tag)
        if face.review == Review.UNKNOWN and face.decision == Decision.NONE and person_id:
            wanted[face.space_id, person_id].append(face.pk)
    if not wanted:
        return {}
    people = Person.objects.filter(
        space__in={space for space, _ in wanted},
        person_id__in={person_id for _, person_id in wanted},
        hidden=False,
        merged_into=None,
    ).named()
    found = {
        face_pk: person
        for person in people
        for face_pk in wanted.get((person.space_id, person.person_id), ())
    }
    rejected = set(
        Face.objects.filter(pk__in=found, rejections__isnull=False).values_list(
            "pk", "rejections__person"
        )
    )
    return {pk: person for pk, person in found.items() if (pk, person.pk) not in rejected}
