"""The review's cards: one for a face, one for a pair of people who may be the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from dashboard.pages.review.place import QueuePlace
from persons.access import Visible
from persons.faces.review_queue import MOST_COUNTED, Queue, best_faces, count_all, hold
from persons.inputs.params import whole
from persons.models import Decision, Face, Likeness, Person, Review
from persons.vision.envelope import person_id_of

COMPARED = 5
"""Crops of the suggested person shown beside the face."""


@dataclass(frozen=True, slots=True)
class FaceCard:
    """One face to decide on.

    `suggested` is who it may be. With `is_guess` the match is below the space's threshold, so the
    face has no person. `rivals` are faces of the same photo with the same person, and `known` are
    the photo's other faces that have a person.
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
        """The pk of the person that a confirmation confirms."""
        return self.face.person_id

    @property
    def can_reject(self) -> bool:
        return self.face.person_id is not None


@dataclass(frozen=True, slots=True)
class PairSide:
    """One person of a pair. `count` is capped at MOST_COUNTED."""

    person: Person
    crops: Sequence[Face]
    count: int

    @property
    def text(self) -> str:
        return f"{MOST_COUNTED:,}+" if self.count >= MOST_COUNTED else f"{self.count:,}"


@dataclass(frozen=True, slots=True)
class PairCard:
    likeness: Likeness
    sides: tuple[PairSide, PairSide]

    is_pair = True

    @property
    def id(self) -> str:
        return f"p{self.likeness.pk}"

    @property
    def at(self) -> str:
        return f"p{self.likeness.pk}"

    @property
    def keeps(self) -> PairSide:
        """The side that stays in a merge: the named one, else the one with more faces."""
        return min(self.sides, key=_stays)

    @property
    def goes(self) -> PairSide:
        return next(side for side in self.sides if side is not self.keeps)


def _stays(side: PairSide) -> tuple[bool, int, int]:
    return (not side.person.label, -side.count, side.person.pk)


Card = FaceCard | PairCard


def next_cards(
    queue: Queue, place: QueuePlace, *, limit: int, have: Collection[str], holds: bool
) -> list[Card]:
    """Up to `limit` cards after a place: pairs first, then faces, without those in `have`.

    With `holds` the cards are held for the user, and cards that others hold are left out.
    """
    cards: list[Card] = []
    if place.has_pairs and place.key is None:
        pairs = [
            pair for pair in queue.pairs(place.pair, limit + len(have)) if f"p{pair.pk}" not in have
        ]
        cards += _pair_cards(queue, pairs[:limit], holds=holds)
    wanted = limit - len(cards)
    if wanted <= 0 or not queue.kinds:
        return cards
    faces = {pk for one in have if one[:1] == "f" and (pk := whole(one[1:])) is not None}
    if not holds:
        return [*cards, *_face_cards(queue, queue.after(place.key, wanted, but=faces))]
    mine: list[int] = []
    # Another reviewer may hold a face between the query and our hold: then query again.
    for _ in range(3):
        found = queue.after(place.key, wanted - len(mine), but={*faces, *mine})
        kept = hold(queue.user, found)
        mine += [pk for pk in found if pk in kept]
        if len(mine) == wanted or len(kept) == len(found):
            break
    return [*cards, *_face_cards(queue, mine)]


def card_of(queue: Queue, pk: int) -> FaceCard | None:
    """The card of one face, even if it isn't in the queue; None if the user may not see it."""
    return next(iter(_face_cards(queue, [pk])), None)


def pair_card_of(queue: Queue, pair: Likeness) -> PairCard:
    return _pair_cards(queue, [pair], holds=False)[0]


def _pair_cards(queue: Queue, pairs: Sequence[Likeness], *, holds: bool) -> list[PairCard]:
    people = {pk for pair in pairs for pk in (pair.one_id, pair.other_id)}
    crops = best_faces(people, most=COMPARED + 1, visible=queue.visible) if people else {}
    counts = _counts(people, queue.visible)

    def side(person: Person) -> PairSide:
        return PairSide(person, crops[person.pk], counts[person.pk])

    cards = [PairCard(pair, (side(pair.one), side(pair.other))) for pair in pairs]
    if not holds:
        return cards
    # A pair is held by its first face.
    faces = {card.likeness.pk: _held_face(card) for card in cards}
    mine = hold(queue.user, [pk for pk in faces.values() if pk is not None])
    return [card for card in cards if faces[card.likeness.pk] in {None, *mine}]


def _counts(person_pks: Collection[int], visible: Visible) -> dict[int, int]:
    """Each person's number of visible faces, up to MOST_COUNTED."""
    pks = sorted(person_pks)
    faces = [visible.faces_of(pk) for pk in pks]
    counted = count_all([some.order_by("-pk") for some in faces])
    return dict(zip(pks, counted, strict=True))


def _held_face(card: PairCard) -> int | None:
    return next((face.pk for side in card.sides for face in side.crops[:1]), None)


def held_by(card: Card) -> int | None:
    """The pk of the face by which this card is held, if any."""
    return card.face.pk if isinstance(card, FaceCard) else _held_face(card)


def _face_cards(queue: Queue, pks: Sequence[int]) -> list[FaceCard]:
    """The cards of these faces, in the order of `pks`. The number of queries is fixed."""
    if not pks:
        return []
    with_photos = queue.faces_among(pks).select_related(
        "photo__gallery__team", "photo__gallery__space", "person__canonical"
    )
    by_pk = {face.pk: face for face in with_photos}
    shown = [by_pk[pk] for pk in pks if pk in by_pk]
    on_photo: dict[int, list[Face]] = defaultdict(list)
    others = Face.objects.filter(photo__in={face.photo_id for face in shown}, missing=False)
    for other in others.select_related("person__canonical"):
        # While a merge is under way, some faces still belong to the merged person.
        other.person = other.person.canonical if other.person else None
        on_photo[other.photo_id].append(other)
    guesses = _guesses(shown)
    suggested = {
        face.pk: face.person.canonical if face.person else guesses.get(face.pk) for face in shown
    }
    people = {person.pk for person in suggested.values() if person}
    crops = best_faces(people, most=COMPARED + 2, visible=queue.visible) if people else {}
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
    """By face pk, the person whom Vision named below the threshold, unless that was rejected."""
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
