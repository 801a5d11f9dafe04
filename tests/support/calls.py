"""Makes calls for the history and the audit: begun, ended, or created as finished rows."""

from __future__ import annotations

from typing import Any

from persons.calls import log as call_log
from persons.models import (
    Call,
    Finding,
    Gallery,
    Person,
    Recognition,
    Source,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.vision.types import Answer, Image, ImageResult, ImageStatus, Method
from tests.support import tampering
from tests.support.fakes import FakeVision

SAID = {
    "status": 0,
    "name": "a.jpg",
    "persons": [{"similarity": 0.5, "confidence": 1.0, "coord": [1, 2, 3, 4], "tag": "person1"}],
}


def begun(team: Team, user: User | None = None, **more: Any) -> Call:
    space = team.spaces.select_related("team").get(number=1)
    space.version = 3
    return call_log.begin(
        space=space,
        vision=FakeVision(),
        method=Method.RECOGNIZE,
        meta={"space": "1", "share": 1.0, "images": [{"name": "a.jpg"}]},
        images=[call_log.Sent(Image(name, name.encode()), 640, 480) for name in ("a.jpg", "b.jpg")],
        origin=call_log.Origin(source=Source.PAGE, actor=tampering.actor(user), **more),
    )


def ended(call: Call) -> Call:
    results = [
        ImageResult("a.jpg", ImageStatus.DONE, raw=SAID),
        ImageResult("b.jpg", ImageStatus.DONE, raw={"status": 0, "name": "b.jpg"}),
    ]
    call_log.end(call, Answer('{"status":200,"who":"Größe"}'.encode()), None, results)
    return call


def make_call(team: Team, **values: Any) -> Call:
    values = {
        "space": team.spaces.get(number=0),
        "method": "recognize",
        "source": Source.WORKER,
        "backend": "embedded",
        "outcome": Outcome.DONE,
        "duration_ms": 312,
        "image_count": 1,
    } | values
    return Call.objects.create(team=team, **values)


def call_with(
    team: Team,
    *faces: tuple[Person | None, float],
    gallery: Gallery | None = None,
    image: dict[str, Any] | None = None,
    **values: Any,
) -> Call:
    """A call that recognised one image, with a finding for each of these faces."""
    call = make_call(team, **({"space": team.spaces.get(number=5)} | values))
    row = Recognition.objects.create(
        call=call, position=0, name="file", status=0, gallery=gallery, **(image or {})
    )
    for position, (person, similarity) in enumerate(faces):
        Finding.objects.create(
            team=team,
            call=call,
            recognition=row,
            gallery=gallery,
            position=position,
            person=person,
            told_id=person.person_id if person else None,
            similarity=similarity,
        )
    return call
