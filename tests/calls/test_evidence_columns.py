"""Every column that an evidence card shows is vouched for by the audit, or marked as not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import Model, QuerySet
from django.test import Client
from django.utils import timezone

from persons import audit
from persons.actions.changes import undo
from persons.actions.faces import name_face
from persons.actions.naming import give_label
from persons.actions.people import rename_person
from persons.calls import log as call_log
from persons.chain import records
from persons.chain.checking import check
from persons.models import (
    ApiKey,
    AuditEntry,
    Call,
    Change,
    ChangedFace,
    Enrolment,
    EnrolmentState,
    Face,
    Finding,
    Person,
    Photo,
    Recognition,
    Source,
    Space,
    Team,
    User,
)
from persons.models.changes import ChangeKind
from persons.pipeline.audit.sealing import seal_audit
from persons.vision.envelope import match_objects, parse
from persons.vision.types import Answer, Method
from persons.vision.types import Image as VisionImage
from tests.support import tampering, wire
from tests.support.audit_exports import run, unpacked
from tests.support.evidence import BOX, SENT, as_json, sha, url
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import FakeVision, by

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]

SignIn = Callable[[User], Client]


@dataclass
class Card:
    team: Team
    finding: Finding
    change: Change
    undone: Change
    person: Person

    def row(self, model: type[Model]) -> Model:
        of: dict[type[Model], int] = {
            Call: self.finding.call_id,
            Recognition: self.finding.recognition_id,
            Finding: self.finding.pk,
            Change: self.change.pk,
            Person: self.person.pk,
        }
        return QuerySet(model).get(pk=of[model])


@pytest.fixture
def card(team: Team, alice: User, bob: User) -> Card:
    """As the product writes it: a client's call about a photo, decisions on the face, an undo."""
    space = team.spaces.select_related("team").get(number=0)
    wire.make_key(team)
    photo: Photo = PhotoFactory.create(gallery=GalleryFactory.create(team=team, space=space))
    default_storage.save(photo.key("sent"), ContentFile(SENT))
    # Others that a reference can be led to instead.
    PhotoFactory.create(gallery=photo.gallery)
    ApiKey.objects.create(team=team, name="other", prefix="x", key_hash="y")
    person = tampering.named(PersonFactory.create(space=space, label="Anna Before"))
    second = tampering.named(PersonFactory.create(space=space, label="Bea Orlova"))
    name = f"photo{photo.pk}"
    box = [BOX["left"], BOX["top"], BOX["right"], BOX["bottom"]]
    persons = [{"tag": person.tag, "coord": box, "similarity": 0.8, "confidence": 0.9}]
    body = {"objects": [{"status": 0, "name": name, "persons": persons}]}
    answer = Answer(json.dumps({"status": 200, "body": body}).encode())
    space.version = 3
    call = call_log.begin(
        space=space,
        vision=FakeVision(),
        method=Method.RECOGNIZE,
        meta={"space": "0", "images": [{"name": name}]},
        images=[call_log.Sent(VisionImage(name, b""), 64, 48, photo=photo, digest=sha(SENT))],
        origin=call_log.Origin(
            source=Source.CLIENT,
            actor=tampering.actor(alice),
            key=ApiKey.objects.exclude(name="other").get(),
        ),
    )
    call_log.end(call, answer, None, match_objects([name], parse(Method.RECOGNIZE, answer)))
    Finding.objects.filter(call=call).update(
        runner_up=second.person_id, runner_up_similarity=0.3, matched_sha256=sha(b"enrolled")
    )
    found = next(records.stored([call.pk]))
    after = records.seal_record(*found)
    found[0].save(update_fields=["salt", "digest"])
    tampering.remove(AuditEntry.objects.filter(target_type="call"))
    audit.record(
        actor=tampering.actor(alice),
        team=team,
        action="call.recognize",
        target=call,
        after=after,
    )
    Enrolment.objects.create(
        person=person,
        sha256=sha(b"enrolled"),
        image="enrolments/one.jpg",
        state=EnrolmentState.DONE,
        done_at=timezone.now() - timedelta(days=2),
    )
    rename_person(actor=by(alice), person=person, label="Anna Petrova")
    face = FaceFactory.create(photo=photo, person=person, **BOX)
    named = name_face(actor=by(bob), face=Face.objects.get(pk=face.pk), label="Bea Orlova").change
    undo(actor=by(alice), change=named)
    kept = name_face(actor=by(bob), face=Face.objects.get(pk=face.pk), label="Anna Petrova").change
    while seal_audit():
        pass
    assert check(team).problem == ""
    finding = Finding.objects.get(call=call)
    return Card(team, finding, kept, Change.objects.get(pk=named.pk), person)


def different(row: Model, column: str) -> object:
    """Another value that the column takes."""
    field: Any = row._meta.get_field(column)
    now = getattr(row, field.attname)
    kind = field.get_internal_type()
    if field.is_relation:
        others = field.related_model._base_manager.exclude(pk=now)
        return others.values_list("pk", flat=True).first()
    if field.choices:
        return next(value for value, _ in field.flatchoices if value != now)
    if kind == "DateTimeField":
        return (now or timezone.now()) - timedelta(days=1)
    if kind == "GenericIPAddressField":
        return "198.51.100.77"
    if kind == "JSONField":
        return {"another": 1}
    if kind in ("CharField", "TextField"):
        return "another"[: field.max_length or 99]
    if kind == "FloatField":
        return (now or 0) + 0.1
    return (now or 0) + 1


ALTERED: dict[type[Model], set[str]] = {
    Call: {
        *records.CALL,
        *("address", "started_at", "answer", "salt", "digest", "erased_at", "actor", "key"),
        "space",
    },
    Recognition: {*records.IMAGE, "photo", "own_width", "own_height"},
    Finding: {*records.FACE, "person"},
    Change: {
        *("space", "kind", "person", "other", "label", "face_count", "actor", "created_at"),
        *("undone_at", "undone_by"),
    },
    Person: {"label"},
}
"""Who rewrites one of these is found out by the card, the verification, and an export."""

UNSEEN: dict[type[Model], dict[str, str]] = {
    Call: {
        "id": "the row itself",
        "team": "the call is on no card of this team any more, and the verification misses it",
        "question": "a digest by which stored answers are found: no card shows it",
        "cost": "worked out while the entry is written: no card shows it",
    },
    Recognition: {
        "id": "the row itself",
        "call": "the image is gone from the card, and the verification misses it",
        "image": "where a client's picture is kept: its bytes are compared with their digest",
        "gallery": "by which it is hidden: no card shows it",
        "erased_at": "of one image: the call's is compared",
    },
    Finding: {
        "id": "the row itself",
        "team": "by which it is found: it is on no card of this team any more",
        "call": "it is on no card of this call any more, and the verification misses it",
        "recognition": "it is on no card of this image any more, and the verification misses it",
        "gallery": "by which it is hidden: no card shows it",
    },
    Change: {
        "id": "the row itself",
        "team": "the verification misses it",
    },
}
"""What no card shows, and why."""

COLUMNS = [(model, column) for model, columns in ALTERED.items() for column in sorted(columns)]


def columns_by_type() -> list[Any]:
    """All of `ALTERED`. Of each type of column, one is tried on every database."""
    tried = set()
    found = []
    for model, column in COLUMNS:
        kind = model._meta.get_field(column).get_internal_type()
        marks = [pytest.mark.any_database] if kind in tried else []
        found.append(pytest.param(model, column, marks=marks))
        tried.add(kind)
    return found


@pytest.mark.parametrize("model", [Call, Recognition, Finding, Change])
def test_every_column_is_vouched_for_or_shown_nowhere(model: type[Model]) -> None:
    """A new column is put on one of the two lists, or its card is wrong."""
    columns = {field.name for field in model._meta.concrete_fields}
    assert ALTERED[model] | set(UNSEEN[model]) == columns
    assert not ALTERED[model] & set(UNSEEN[model])


def rewrite(row: Model, column: str) -> None:
    field: Any = row._meta.get_field(column)
    attname = field.attname
    rows: QuerySet[Any] = QuerySet(type(row))
    assert rows.filter(pk=row.pk).update(**{attname: different(row, column)}) == 1


@pytest.mark.parametrize(
    ("model", "column"), columns_by_type(), ids=lambda one: getattr(one, "__name__", one)
)
def test_a_column_that_was_rewritten_is_found_by_card_verification_and_export(
    card: Card, model: type[Model], column: str, alice: User, sign_in: SignIn, tmp_path: Path
) -> None:
    client = sign_in(alice)
    said = as_json(client, card.finding)
    assert said["integrity"]["card_is"] == "as the audit says", said
    rewrite(card.row(model), column)
    if model in (Call, Recognition, Finding) and column not in ("salt", "digest"):
        # All that whoever has the database can work out anew.
        found = next(records.stored([card.finding.call_id]))
        digest = records.digest_of(*found)
        Call.objects.filter(pk=card.finding.call_id).update(digest=digest)
    assert "altered" in check(card.team).problem or "vouches" in check(card.team).problem
    position = Finding.objects.get(pk=card.finding.pk).position
    card.finding.position = position
    assert as_json(client, card.finding)["integrity"]["card_is"] == "altered"
    page = client.get(url(card.finding)).text
    assert "not as the audit says" in page or "altered since" in page
    seal_audit()
    found_by_export = run(unpacked(card.team, tmp_path / "export"))
    if (model, column) not in REFERENCES:
        assert found_by_export.returncode == 1, found_by_export.stdout


def test_a_name_that_was_taken_away_is_found(
    card: Card, alice: User, sign_in: SignIn, tmp_path: Path
) -> None:
    """Who has none is shown by number: that they had one, the audit says."""
    client = sign_in(alice)
    assert as_json(client, card.finding)["integrity"]["card_is"] == "as the audit says"
    QuerySet(Person).filter(pk=card.person.pk).update(label="", name_key="")
    assert "the name of" in check(card.team).problem
    assert as_json(client, card.finding)["integrity"]["card_is"] == "altered"
    seal_audit()
    assert run(unpacked(card.team, tmp_path / "export")).returncode == 1


def test_who_never_had_a_name_or_has_lost_it_in_the_open_is_whole(team: Team, alice: User) -> None:
    space = team.spaces.get(number=0)
    PersonFactory.create(space=space, label="")
    person = tampering.named(PersonFactory.create(space=space, label="Anna"))
    give_label(actor=by(alice), person=person, label="")
    seal_audit()
    assert check(team).problem == ""


REFERENCES = {(Call, "actor"), (Call, "key"), (Call, "space"), (Call, "erased_at")} | {
    (Call, "digest"),
    (Recognition, "photo"),
    (Finding, "person"),
}
"""Not in the record of an export: rows that it points at, which are of the server alone."""


@pytest.mark.parametrize("column", ["undone_at", "undone_by"])
@pytest.mark.parametrize("how", ["another", "none"])
def test_who_took_a_decision_back_is_compared(
    card: Card, column: str, how: str, alice: User, sign_in: SignIn
) -> None:
    value = different(card.undone, column) if how == "another" else None
    Change.objects.filter(pk=card.undone.pk).update(**{column: value})
    assert "altered since" in check(card.team).problem
    assert as_json(sign_in(alice), card.finding)["integrity"]["card_is"] == "altered"


def test_a_decision_that_was_made_up_or_taken_away_is_found(card: Card, bob: User) -> None:
    forged = Change.objects.create(
        team=card.team, space=card.person.space, kind=ChangeKind.NAME, actor=bob, face_count=0
    )
    assert f"no entry vouches for decision {forged.pk}" in check(card.team).problem
    forged.delete()
    assert check(card.team).problem == ""
    ChangedFace.objects.filter(change=card.change).delete()
    assert f"decision {card.change.pk} was altered" in check(card.team).problem
    card.change.delete()
    assert f"decision {card.change.pk}" in check(card.team).problem or "was deleted" in (
        check(card.team).problem
    )


@pytest.mark.parametrize("column", ["label", "before", "after", "reason", "target_text"])
def test_an_entry_on_the_card_that_was_blanked_is_marked(
    card: Card, column: str, alice: User, sign_in: SignIn
) -> None:
    entry = AuditEntry.objects.filter(action="person.rename").latest("pk")
    rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
    rows.filter(pk=entry.pk).update(
        target_text="", before={}, after={}, reason="", salt="", erased_at=timezone.now()
    )
    said = as_json(sign_in(alice), card.finding)
    assert [one["vouched_for"] for one in said["since"] if one.get("audit_entry") == entry.pk] == [
        "altered"
    ]
    assert said["integrity"]["card_is"] == "altered"


MARKED = {
    "the team's name": (Team, "name"),
    "the space's name": (Space, "name"),
    "the key's name": (ApiKey, "name"),
    "when the picture was enrolled": (Enrolment, "done_at"),
}


@pytest.mark.parametrize("what", MARKED)
def test_what_nothing_vouches_for_is_marked(
    card: Card, what: str, alice: User, sign_in: SignIn
) -> None:
    model, column = MARKED[what]
    rows: QuerySet[Any] = QuerySet(model)
    shown = "Qwertz" if column == "name" else "1 January 2001"
    value = shown if column == "name" else datetime(2001, 1, 1, 12, tzinfo=UTC)
    rows.update(**{column: value})
    page = client_page(sign_in(alice), card)
    at = page.index(shown, page.index("<article"))
    assert re.match(r"[^†]{0,160}†", re.sub(r"<[^>]+>", "", page[at:])), page[at : at + 300]
    assert as_json(sign_in(alice), card.finding)["integrity"]["not_vouched_for"]


def client_page(client: Client, card: Card) -> str:
    return " ".join(client.get(url(card.finding)).text.split())
