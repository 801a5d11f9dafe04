"""Every text field of the database, filled with the name of a person who is then erased.

The list comes from the models, so a new field fails here until its treatment is declared: it is the
person's and is erased, it is somebody else's text and is reported, or no name can get there.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.db.models import CharField, Field, FileField, JSONField, Model, TextField
from django.utils import timezone

from persons import audit
from persons.actions.erasing import erase_person, plan_of
from persons.calls import log as call_log
from persons.chain.checking import check
from persons.models import (
    ApiKey,
    Call,
    Change,
    Consent,
    Enrolment,
    Face,
    Invitation,
    LegalHold,
    Photo,
    Recognition,
    ReviewPlace,
    ShareLink,
    Source,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.names import NameStart, fold
from persons.pipeline.audit.sealing import seal_audit
from persons.vision.errors import VisionRejected
from persons.vision.types import Image, Method
from tests.support import tampering, wire
from tests.support.erasing import GONE, World, build, finish
from tests.support.factories import GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import FakeVision, by, use
from tests.support.portraits import version_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

THEIRS = {
    "persons.Person": {"label", "name_key", "notes", "sync_error"},
    "persons.NameStart": {"key"},
    "persons.Enrolment": {"error"},
    "persons.Change": {"label"},
    "persons.Consent": {"purpose", "document"},
    "persons.LegalHold": {"reason"},
    "persons.Call": {"meta", "answer", "error", "reason"},
    "persons.Recognition": {"name", "result", "error"},
    "persons.AuditEntry": {"target_text", "before", "after", "reason"},
    "persons.SpaceJob": {"report", "error"},
    "persons.ReviewPlace": {"query"},
    "sessions.Session": {"session_data"},
}
"""What of these is about them goes; the first test plants the name in each."""

TOLD = {
    "persons.Team": {"name"},
    "persons.Space": {"name"},
    "persons.Gallery": {"name"},
    "persons.ShareLink": {"title"},
    "persons.Photo": {"file_name"},
    "persons.Person": {"notes"},
    "persons.LegalHold": {"reason"},
    "persons.ApiKey": {"name"},
    "persons.Invitation": {"email"},
    "persons.User": {"username", "first_name", "last_name"},
    "persons.Recognition": {"name"},
    "persons.Call": {"reason"},
    "persons.AuditEntry": {"reason"},
}
"""Texts on something else; the second test plants the name in each, and sees it counted."""

DIGESTS = "a digest, a key, a token, a number or a word of Rollcall's own"
SAYS_AGAIN = "what a text on something else was when it was written: told with that one"

NO_NAME = {
    "persons.User": {"password": DIGESTS, "email": "an account's: shown to nobody but its owner"},
    "persons.Team": {
        "slug": SAYS_AGAIN,
        "require_reasons": DIGESTS,
        "reason_choices": "an owner's list of reasons for everybody, on the team's page",
    },
    "persons.Invitation": {"token_hash": DIGESTS},
    "persons.Person": {"sync_request_id": DIGESTS, "claim": DIGESTS},
    "persons.Enrolment": {"sha256": DIGESTS, "image": DIGESTS, "request_id": DIGESTS},
    "persons.Run": {"reason": "Rollcall's own words and a tag", "request_id": DIGESTS},
    "persons.Gallery": {"slug": SAYS_AGAIN},
    "persons.ShareLink": {"token_hash": DIGESTS, "hint": DIGESTS, "password": DIGESTS},
    "persons.Photo": {
        **dict.fromkeys(("sha256", "original", "sent_sha256", "request_id", "claim"), DIGESTS),
        **dict.fromkeys(("format", "notes", "error"), "Rollcall's own words"),
    },
    "persons.Arrival": {"key": DIGESTS},
    "persons.ApiKey": dict.fromkeys(
        ("prefix", "key_hash", "methods", "spaces", "last_used_address", "scopes"), DIGESTS
    ),
    "persons.Call": {
        **dict.fromkeys(("method", "address", "request_id", "question", "salt", "digest"), DIGESTS),
        **dict.fromkeys(("backend", "model"), "the recogniser's"),
        "actor_text": "an account's name",
    },
    "persons.Recognition": dict.fromkeys(("sha256", "image", "request_id"), DIGESTS),
    "persons.Finding": {"matched_sha256": DIGESTS},
    "persons.AuditEntry": {
        **dict.fromkeys(
            ("address", "request_id", "action", "target_type", "target_id", "salt"), DIGESTS
        ),
        **dict.fromkeys(("digest", "stamp", "previous", "hash"), DIGESTS),
        "actor_text": "an account's name",
    },
    "persons.AuditChain": {
        **dict.fromkeys(("hash", "key", "signature", "claim"), DIGESTS),
        "verification_error": "Rollcall's own words",
        **dict.fromkeys(("problem", "sealing_problem", "copy_problem"), "numbers of entries"),
    },
    "persons.AuditSeal": dict.fromkeys(("hash", "key", "signature"), DIGESTS),
    "persons.Face": {"tag": "a number", "attributes": "the recogniser's numbers and words"},
    "persons.ChangedFace": dict.fromkeys(("before", "after"), "keys of rows"),
    "persons.CloudToken": dict.fromkeys(("account", "sealed", "claimant"), DIGESTS),
    "persons.CloudCircuit": dict.fromkeys(("upstream", "phase"), DIGESTS),
    "persons.CloudBucket": {"name": DIGESTS},
    "persons.EngineEmbedding": {"digest": DIGESTS},
    "persons.Grouping": {
        **dict.fromkeys(("request_id", "claim"), DIGESTS),
        "error": "Rollcall's own words",
        "plan": "keys of rows",
    },
    "persons.FaceVector": {"model": "the recogniser's"},
    "persons.SpaceJob": dict.fromkeys(("request_id", "claim", "file"), DIGESTS),
    "persons.RetentionRun": dict.fromkeys(
        ("request_id", "claim", "error", "rules", "report", "step"), "counts and Rollcall's words"
    ),
    "persons.Erasure": {
        **dict.fromkeys(("request_id", "claim", "ids", "reference", "step"), DIGESTS),
        **dict.fromkeys(("signature", "key", "certificate"), "names nobody: see its own test"),
        "error": "Rollcall's own words",
        "reason": "refused where it names them",
        "report": "of the erasure itself: the first test looks at it after the end",
    },
    "persons.ErasedPicture": {"digest": DIGESTS},
    "persons.Throttle": dict.fromkeys(("kind", "who"), DIGESTS),
    "sessions.Session": {"session_key": DIGESTS},
}
"""Where no name can get, or none that is looked for, and why."""


def texts_of(model: type[Model]) -> list[Field[Any, Any]]:
    kinds = (CharField, TextField, JSONField, FileField)
    return [
        one for one in model._meta.concrete_fields if isinstance(one, kinds) and not one.choices
    ]


def models() -> list[type[Model]]:
    ours: list[type[Model]] = [*apps.get_app_config("persons").get_models(), Session]
    return [model for model in ours if texts_of(model)]


def found(label: str) -> dict[str, set[str]]:
    """The columns that have the name in them, by model."""
    where: dict[str, set[str]] = {}
    for model in models():
        for field in texts_of(model):
            values = model._base_manager.values_list(field.name, flat=True)
            if any(_names(label, model, value) for value in values.iterator()):
                where.setdefault(model._meta.label, set()).add(field.name)
    return where


def _names(label: str, model: type[Model], value: Any) -> bool:
    if model is Session and isinstance(value, str) and ":" in value:
        value = Session(session_data=value).get_decoded()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if model is NameStart:
        return any(text.startswith(word) for word in fold(label).split())
    spelled = {label, fold(label), json.dumps(label)[1:-1]}
    return any(one.casefold() in text.casefold() for one in spelled)


def test_every_text_of_every_model_is_on_one_of_the_lists() -> None:
    for model in models():
        name = model._meta.label
        here = {field.name for field in texts_of(model)}
        known = THEIRS.get(name, set()) | TOLD.get(name, set()) | set(NO_NAME.get(name, ()))
        assert here <= known, f"{name}: {here - known}: what does an erasure do to that?"


@pytest.fixture
def world(alice: User) -> World:
    team = alice.memberships.get().team
    space = Space.objects.get(team=team, number=3)
    world = build(alice, GalleryFactory.create(team=team, slug="visit", space=space))
    _by_a_client(world)
    _in_words_of_rollcalls(world)
    return world


def _by_a_client(world: World) -> None:
    """The name in everything that a client can fill, of a call in which they were found."""
    _, token = wire.make_key(world.team)
    ask = wire.in_process(token)
    name = f"{GONE}.jpg"
    asked = wire.pictures(name, space="3") | {"note": f"{GONE} at the door"}
    ask("recognize", wire.file(name, version_of("ardern_1", 4)), wire.meta(asked))
    call = Call.objects.latest("pk")
    assert call.findings.filter(told_id=world.person.person_id).exists()
    Call.objects.filter(pk=call.pk).update(
        reason=f"Is it {GONE}?", error=f"{name} was not looked at"
    )
    Recognition.objects.filter(call=call).update(error=f"{name} is odd")
    call_log.changed([call.pk], actor=tampering.actor(), action="call.redact", reason=f"Not {GONE}")


def _in_words_of_rollcalls(world: World) -> None:
    person = world.person
    person.sync_error = f"{GONE} could not be sent"
    person.notes = f"{GONE} likes tea"
    person.save(update_fields=["sync_error", "notes"])
    Enrolment.objects.filter(person=person).update(error=f"{GONE}: no face")
    Change.objects.filter(person=person).update(label=GONE)
    Consent.objects.filter(person=person).update(purpose=GONE, document=GONE)
    LegalHold.objects.create(
        team=world.team, person=person, reason=f"{GONE} v. Rollcall", released_at=timezone.now()
    )
    ReviewPlace.objects.create(team=world.team, user=world.owner, query=f"person={GONE}")
    job = SpaceJob.objects.first()
    assert job is not None
    job.error = f"{GONE}: damaged"
    job.report = job.report | {"conflicts": [["name", 99, GONE, 98, "Somebody"]]}
    job.save(update_fields=["error", "report"])


def test_what_is_about_them_goes_from_every_field(world: World, alice: User) -> None:
    planted = found(GONE)
    missing = {model: columns - planted.get(model, set()) for model, columns in THEIRS.items()}
    assert not any(missing.values()), f"Nothing was planted there: {missing}"
    erasure = finish(erase_person(actor=by(alice), person=world.person, photos="keep"))
    assert erasure.state == "done", erasure.error
    assert found(GONE) == {}
    seal_audit()
    assert check(world.team).problem == ""


@pytest.fixture
def elsewhere(team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The name in each text on something else; of each, how many."""
    use(monkeypatch, FakeVision())
    space = Space.objects.get(team=team, number=3)
    gallery = GalleryFactory.create(team=team, space=space, name=f"With {GONE}", slug="with")
    PhotoFactory.create(gallery=gallery, file_name="jacinda_qwunsch-zerase.jpg")
    ShareLink.objects.create(
        gallery=gallery, title=f"For {GONE}", token_hash="x", expires_at=timezone.now()
    )
    Team.objects.filter(pk=team.pk).update(name=f"Friends of {GONE}")
    Space.objects.filter(pk=space.pk).update(name=f"Family {GONE}")
    PersonFactory.create(space=space, label="", notes=f"Sister of {GONE}")
    LegalHold.objects.create(team=team, gallery=gallery, reason=f"{GONE} asked", released_at=None)
    ApiKey.objects.create(team=team, name=f"{GONE}'s laptop", prefix="x", key_hash="y")
    Invitation.objects.create(
        team=team,
        email="jacinda.qwunsch.zerase@example.org",
        role="viewer",
        token_hash="z",
        expires_at=timezone.now(),
    )
    User.objects.filter(pk=alice.pk).update(
        username="JacindaQwunschZerase", first_name=GONE, last_name=GONE
    )
    call = call_log.begin(
        space=space,
        vision=FakeVision(),
        method=Method.RECOGNIZE,
        meta={},
        images=[call_log.Sent(Image(f"{GONE}.jpg", b"x"))],
        origin=call_log.Origin(source=Source.CLIENT),
    )
    call_log.end(call, None, VisionRejected("no face"))
    Call.objects.filter(pk=call.pk).update(reason=f"Looking for {GONE}")
    audit.record(
        actor=tampering.actor(), team=team, action="audit.export", target=team, reason=GONE
    )
    # Whoever looked at a call on which they were not found.
    audit.record(
        actor=tampering.actor(), team=team, action="history.view", target=call, reason=GONE
    )
    return {"texts": 16}


def test_what_is_somebody_elses_text_stays_and_is_told(
    elsewhere: dict[str, int], team: Team, alice: User
) -> None:
    space = Space.objects.get(team=team, number=3)
    person = tampering.named(PersonFactory.create(space=space, label=GONE))
    assert plan_of(person).mentions == elsewhere["texts"]
    erasure = finish(erase_person(actor=by(alice), person=person, photos="keep"))
    assert erasure.state == "done", erasure.error
    left = found(GONE)
    for model, columns in TOLD.items():
        wanted = columns - {"username", "email", "file_name"}
        assert wanted <= left.get(model, set()), model
    assert Photo.objects.get().file_name and not Face.objects.filter(person=person.pk).exists()
    told = " ".join(erasure.certificate["out_of_reach"])
    assert f"{elsewhere['texts']} texts that may name them" in told
