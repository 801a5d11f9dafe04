"""Every address of the site with who may do what there, and a world to try each of them in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from persons.actions.keys import create_key
from persons.actions.sharing import LinkOptions, make_link
from persons.actions.teams import invite_member
from persons.audit import Actor
from persons.models import (
    Call,
    Change,
    ChangeKind,
    Consent,
    Enrolment,
    EnrolmentState,
    Erasure,
    Face,
    Finding,
    Gallery,
    GalleryMember,
    Grouping,
    LegalHold,
    Likeness,
    Membership,
    Person,
    Photo,
    Recognition,
    Role,
    Source,
    SpaceJob,
    Team,
    User,
)
from persons.models.work import JobState
from persons.vision.types import Method
from tests.support.factories import (
    FaceFactory,
    GalleryFactory,
    MembershipFactory,
    PersonFactory,
    PhotoFactory,
    jpeg,
)

WHO = ("anonymous", "stranger", "viewer", "editor", "auditor", "owner")

METHODS = ("get", "post", "put", "patch", "delete")

OK = "ok"
"""Access granted: a page, a form's validation error, or a redirect other than to sign in."""

LOGIN = "login"
"""A redirect to the sign-in page."""


Rule = dict[str, int | str]


def rule(*, stranger: int | str, viewer: int | str, editor: int | str, auditor: int | str) -> Rule:
    """The rule of a page: anonymous users are sent to sign in, and owners may do everything."""
    return {
        "anonymous": LOGIN,
        "stranger": stranger,
        "viewer": viewer,
        "editor": editor,
        "auditor": auditor,
        "owner": OK,
    }


PUBLIC: Rule = dict.fromkeys(WHO, OK)

SIGNED_IN = rule(stranger=OK, viewer=OK, editor=OK, auditor=OK)

NOWHERE: Rule = dict.fromkeys(WHO, 404)

# Rules within a team. Without access, auditors get 403 for the team's pages, and 404 for objects in
# galleries, which they must not know of.
RECORDS = rule(stranger=404, viewer=OK, editor=OK, auditor=OK)

SEE_ALL = rule(stranger=404, viewer=OK, editor=OK, auditor=403)

SEE = rule(stranger=404, viewer=OK, editor=OK, auditor=404)

EDIT_ALL = rule(stranger=404, viewer=403, editor=OK, auditor=403)

EDIT = rule(stranger=404, viewer=403, editor=OK, auditor=404)

MANAGE = rule(stranger=404, viewer=403, editor=403, auditor=403)

AUDIT = rule(stranger=404, viewer=403, editor=403, auditor=OK)

MANAGE_IN = rule(stranger=404, viewer=403, editor=403, auditor=404)


@dataclass(frozen=True)
class Entry:
    """The rule for each method; a method without one gives everybody 405.

    `data` is sent with writes for which an empty form would fail for another reason.
    """

    rules: dict[str, Rule]
    data: dict[str, str] = field(default_factory=dict)


def reads(rule: Rule) -> Entry:
    return Entry({"get": rule})


def writes(rule: Rule, **data: str) -> Entry:
    return Entry({"post": rule}, data)


def both(get: Rule, post: Rule) -> Entry:
    return Entry({"get": get, "post": post})


PAGES: dict[str, Entry] = {
    "": reads(SIGNED_IN),
    # Django treats a PUT as a POST here, and redirects signed-in users before anything else.
    "login/": Entry(
        {
            **dict.fromkeys(("get", "post", "put"), PUBLIC),
            **dict.fromkeys(("patch", "delete"), PUBLIC | {"anonymous": 405}),
        }
    ),
    "account/": both(SIGNED_IN, SIGNED_IN),
    "logout/": writes(PUBLIC),
    "join/<secret:token>/": both(PUBLIC, PUBLIC),
    "s/<secret:shared>/": both(PUBLIC, PUBLIC),
    "s/<secret:shared>/zip": writes(PUBLIC),
    "s/<secret:shared>/photo/<int:pk>/": reads(PUBLIC),
    "s/<secret:shared>/photo/<int:pk>/<str:what>": reads(PUBLIC),
    "healthz": reads(PUBLIC),
    "readyz": reads(PUBLIC),
    "metrics": reads(PUBLIC),
    "t/<slug:team>/": reads(RECORDS),
    "t/<slug:team>/work/": reads(SEE_ALL),
    "t/<slug:team>/galleries/": reads(SEE_ALL),
    "t/<slug:team>/galleries/new": both(EDIT_ALL, EDIT_ALL),
    "t/<slug:team>/g/<slug:slug>/": reads(SEE),
    "t/<slug:team>/g/<slug:slug>/tiles": reads(SEE),
    "t/<slug:team>/g/<slug:slug>/dates": reads(SEE),
    "t/<slug:team>/g/<slug:slug>/people": reads(SEE),
    "t/<slug:team>/g/<slug:slug>/again": reads(EDIT),
    "t/<slug:team>/g/<slug:slug>/photos/range": reads(SEE),
    "t/<slug:team>/g/<slug:slug>/upload": writes(EDIT),
    "t/<slug:team>/g/<slug:slug>/upload/known": writes(EDIT),
    "t/<slug:team>/g/<slug:slug>/rename": writes(EDIT),
    "t/<slug:team>/g/<slug:slug>/recognise": writes(EDIT),
    "t/<slug:team>/g/<slug:slug>/photos/trash": writes(EDIT),
    "t/<slug:team>/g/<slug:slug>/photos/move": writes(EDIT),
    "t/<slug:team>/g/<slug:slug>/photos/recognise": writes(EDIT),
    "t/<slug:team>/g/<slug:slug>/photos/zip": writes(SEE),
    "t/<slug:team>/g/<slug:slug>/share": reads(SEE),
    "t/<slug:team>/g/<slug:slug>/share/open": writes(MANAGE_IN, open="no"),
    "t/<slug:team>/g/<slug:slug>/share/members": writes(MANAGE_IN),
    "t/<slug:team>/g/<slug:slug>/share/members/<int:pk>/remove": writes(MANAGE_IN),
    "t/<slug:team>/g/<slug:slug>/share/links": writes(MANAGE_IN, days="30"),
    "t/<slug:team>/links/<int:pk>/revoke": writes(MANAGE),
    "t/<slug:team>/trash/": reads(EDIT_ALL),
    "t/<slug:team>/trash/restore": writes(EDIT_ALL),
    "t/<slug:team>/trash/empty": writes(MANAGE),
    "t/<slug:team>/photos/<int:pk>/": reads(SEE),
    "t/<slug:team>/photos/<int:pk>/live": reads(SEE),
    "t/<slug:team>/photos/<int:pk>/facts": reads(SEE),
    "t/<slug:team>/photos/<int:pk>/draw": writes(EDIT),
    "t/<slug:team>/photos/<int:pk>/recognise": writes(EDIT),
    "t/<slug:team>/faces/<int:pk>/names": reads(EDIT),
    "t/<slug:team>/faces/<int:pk>/name": writes(EDIT),
    "t/<slug:team>/faces/<int:pk>/confirm": writes(EDIT),
    "t/<slug:team>/faces/<int:pk>/erase": writes(EDIT),
    "t/<slug:team>/faces/<int:pk>/reject": writes(EDIT),
    "t/<slug:team>/faces/<int:pk>/ignore": writes(EDIT),
    "t/<slug:team>/faces/<int:pk>/clear": writes(EDIT),
    "t/<slug:team>/media/photo/<int:pk>/<str:what>": reads(SEE),
    "t/<slug:team>/media/trash/<int:pk>": reads(EDIT),
    "t/<slug:team>/media/face/<int:pk>": reads(SEE),
    "t/<slug:team>/media/enrolment/<int:pk>": reads(SEE),
    "t/<slug:team>/media/recognition/<int:pk>": reads(SEE),
    "t/<slug:team>/people/": reads(SEE_ALL),
    "t/<slug:team>/people/hide": writes(EDIT_ALL),
    "t/<slug:team>/people/merge": writes(EDIT_ALL),
    "t/<slug:team>/spaces/<int:number>/names": reads(EDIT_ALL),
    "t/<slug:team>/changes/<int:pk>/undo": writes(EDIT),
    "t/<slug:team>/likenesses/<int:pk>/forget": writes(EDIT),
    "t/<slug:team>/review/": both(SEE_ALL, EDIT_ALL),
    "t/<slug:team>/review/keep": writes(EDIT_ALL),
    "t/<slug:team>/review/undo": writes(EDIT_ALL),
    "t/<slug:team>/review/many/": reads(SEE_ALL),
    "t/<slug:team>/review/many/<int:number>/<int:person_id>/": both(SEE, EDIT),
    "t/<slug:team>/groups/": reads(SEE_ALL),
    "t/<slug:team>/groups/start": writes(EDIT_ALL, of="g:{slug}"),
    "t/<slug:team>/groups/merge": writes(EDIT_ALL),
    "t/<slug:team>/groups/<int:pk>/": reads(SEE),
    "t/<slug:team>/groups/<int:pk>/steer": writes(EDIT),
    "t/<slug:team>/groups/of/<int:number>/<int:person_id>/": both(SEE, EDIT),
    "t/<slug:team>/spaces/": reads(RECORDS),
    "t/<slug:team>/spaces/<int:number>/": both(RECORDS, MANAGE),
    "t/<slug:team>/spaces/<int:number>/zones": reads(RECORDS),
    "t/<slug:team>/spaces/<int:number>/truncate": both(MANAGE, MANAGE),
    "t/<slug:team>/spaces/<int:number>/snapshots/take": writes(MANAGE),
    "t/<slug:team>/spaces/<int:number>/snapshots/upload": writes(MANAGE),
    "t/<slug:team>/spaces/<int:number>/snapshots/<int:pk>/download": reads(MANAGE),
    "t/<slug:team>/spaces/<int:number>/snapshots/<int:pk>/restore": both(MANAGE, MANAGE),
    "t/<slug:team>/spaces/<int:number>/snapshots/<int:pk>/delete": writes(MANAGE),
    "t/<slug:team>/spaces/<int:number>/jobs/<int:pk>/": reads(SEE_ALL),
    "t/<slug:team>/spaces/<int:number>/jobs/<int:pk>/cancel": writes(MANAGE),
    "t/<slug:team>/spaces/<int:number>/jobs/<int:pk>/retry": writes(MANAGE),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/": reads(SEE),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/rename": writes(EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/company": reads(SEE),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/notes": writes(EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/hide": writes(EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/faces": writes(EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/merge": both(EDIT, EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/split": both(EDIT, EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/different": writes(
        EDIT, **{"with": "{other}"}
    ),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/remove": writes(EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/sync": writes(EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/consent": writes(EDIT),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/hold": writes(MANAGE_IN),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/report": reads(MANAGE_IN),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/report.json": reads(MANAGE_IN),
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/erase": both(MANAGE, MANAGE),
    "t/<slug:team>/consents/<int:pk>/withdraw": writes(EDIT),
    "t/<slug:team>/erasures/": reads(AUDIT),
    "t/<slug:team>/erasures/<str:reference>/": reads(AUDIT),
    "t/<slug:team>/erasures/<str:reference>/certificate.json": reads(AUDIT),
    "t/<slug:team>/erasures/<str:reference>/retry": writes(MANAGE),
    "t/<slug:team>/privacy/": reads(RECORDS),
    "t/<slug:team>/privacy/due": reads(MANAGE),
    "t/<slug:team>/privacy/retention": writes(MANAGE),
    "t/<slug:team>/privacy/hold": writes(MANAGE, gallery="{slug}", reason="Case 13"),
    "t/<slug:team>/privacy/holds/<int:pk>/release": writes(MANAGE),
    "t/<slug:team>/enrolments/<int:pk>/remove": writes(EDIT),
    "t/<slug:team>/enrolments/<int:pk>/retry": writes(EDIT),
    "t/<slug:team>/history/": reads(RECORDS),
    "t/<slug:team>/history/<int:pk>/": reads(RECORDS),
    "t/<slug:team>/history/<int:pk>/answer": reads(RECORDS),
    "t/<slug:team>/history/names": reads(SEE_ALL),
    "t/<slug:team>/history/chart": reads(RECORDS),
    "t/<slug:team>/history/export.<str:form>": reads(RECORDS),
    "t/<slug:team>/history/<int:call>/evidence/<int:recognition>/<int:position>/": reads(RECORDS),
    "t/<slug:team>/faces/<int:pk>/evidence": reads(SEE),
    # Without the signed pass that the evidence card hands out.
    "t/<slug:team>/media/evidence/<int:pk>/<str:what>": reads(NOWHERE | {"anonymous": LOGIN}),
    "t/<slug:team>/reason/": Entry(
        # Without a purpose there is nothing to ask about.
        {"get": dict.fromkeys(WHO, 404) | {"anonymous": LOGIN}, "post": RECORDS},
        {"purpose": "export", "target": "history", "words": "case 12"},
    ),
    "t/<slug:team>/audit/": reads(RECORDS),
    "t/<slug:team>/audit/chain/": reads(RECORDS),
    "t/<slug:team>/audit/verify/": writes(AUDIT),
    "t/<slug:team>/audit/export/": reads(AUDIT),
    "t/<slug:team>/keys/": reads(RECORDS),
    "t/<slug:team>/keys/make": writes(MANAGE),
    "t/<slug:team>/keys/<int:pk>/scopes": writes(MANAGE, scopes="create"),
    "t/<slug:team>/keys/<int:pk>/revoke": writes(MANAGE),
    "t/<slug:team>/usage/": reads(RECORDS),
    "t/<slug:team>/usage/settings": writes(MANAGE),
    "t/<slug:team>/connection/": reads(RECORDS),
    "t/<slug:team>/members/": reads(RECORDS),
    "t/<slug:team>/members/invite": writes(MANAGE),
    "t/<slug:team>/members/reasons": writes(MANAGE),
    "t/<slug:team>/members/<int:pk>/role": writes(MANAGE),
    "t/<slug:team>/members/<int:pk>/remove": writes(MANAGE),
    "t/<slug:team>/invitations/<int:pk>/revoke": writes(MANAGE),
}


def rest(**rules: Rule) -> Entry:
    """As a page's rules, but anonymous users get 401."""
    return Entry({method: rule | {"anonymous": 401} for method, rule in rules.items()})


REST: dict[str, Entry] = {
    "rest/": Entry(dict.fromkeys(METHODS, NOWHERE)),
    "rest/<path:anything>": Entry(dict.fromkeys(METHODS, NOWHERE)),
    "rest/schema/": rest(get=SIGNED_IN),
    "rest/docs/": reads(SIGNED_IN),
    "rest/teams/": rest(get=SIGNED_IN),
    "rest/teams/<slug:team>/": rest(get=RECORDS),
    "rest/teams/<slug:team>/members/": rest(get=RECORDS),
    "rest/teams/<slug:team>/members/<int:pk>/": rest(patch=MANAGE, delete=MANAGE),
    "rest/teams/<slug:team>/invitations/": rest(get=MANAGE, post=MANAGE),
    "rest/teams/<slug:team>/invitations/<int:pk>/revoke/": rest(post=MANAGE),
    "rest/teams/<slug:team>/galleries/": rest(get=SEE_ALL, post=EDIT_ALL),
    "rest/teams/<slug:team>/galleries/<slug:slug>/": rest(get=SEE, patch=EDIT),
    "rest/teams/<slug:team>/galleries/<slug:slug>/photos/": rest(get=SEE, post=EDIT),
    "rest/teams/<slug:team>/photos/<int:pk>/": rest(get=SEE),
    "rest/teams/<slug:team>/photos/<int:pk>/recognise/": rest(post=EDIT),
    "rest/teams/<slug:team>/faces/<int:pk>/name/": rest(post=EDIT),
    "rest/teams/<slug:team>/faces/<int:pk>/reject/": rest(post=EDIT),
    "rest/teams/<slug:team>/faces/<int:pk>/ignore/": rest(post=EDIT),
    "rest/teams/<slug:team>/faces/<int:pk>/clear/": rest(post=EDIT),
    "rest/teams/<slug:team>/spaces/": rest(get=RECORDS),
    "rest/teams/<slug:team>/spaces/<int:number>/": rest(get=RECORDS, patch=MANAGE),
    "rest/teams/<slug:team>/spaces/<int:number>/people/": rest(get=SEE_ALL),
    "rest/teams/<slug:team>/spaces/<int:number>/people/<int:person_id>/": rest(get=SEE, patch=EDIT),
    "rest/teams/<slug:team>/spaces/<int:number>/people/<int:person_id>/enrolments/": rest(get=SEE),
    "rest/teams/<slug:team>/enrolments/<int:pk>/remove/": rest(post=EDIT),
    "rest/teams/<slug:team>/enrolments/<int:pk>/retry/": rest(post=EDIT),
    "rest/teams/<slug:team>/calls/": rest(get=RECORDS),
    "rest/teams/<slug:team>/calls/<int:pk>/": rest(get=RECORDS),
    "rest/teams/<slug:team>/audit/": rest(get=RECORDS),
}

# The proxy's envelopes carry the outcome in `status`: see tests/proxy/test_proxy_keys.py.
PROXY = {f"api/v1/persons/{method}": writes(PUBLIC) for method in Method}

TABLE = PAGES | REST | PROXY

# The kind of object that `<int:pk>` names, by the part of the address before it.
KINDS = {
    "consents": "consent",
    "holds": "hold",
    "changes": "change",
    "likenesses": "likeness",
    "photo": "photo",
    "photos": "photo",
    "face": "face",
    "faces": "face",
    "groups": "grouping",
    "enrolment": "enrolment",
    "enrolments": "enrolment",
    "evidence": "finding",
    "history": "call",
    "calls": "call",
    "members": "membership",
    "invitations": "invitation",
    "jobs": "job",
    "keys": "key",
    "recognition": "recognition",
    "snapshots": "snapshot",
    "trash": "trashed",
    "links": "link",
    "share/members": "gallery_member",
}


def routes(
    resolver: URLResolver | None = None, prefix: str = ""
) -> Iterator[tuple[str, URLPattern]]:
    """Every address of the site, as a route from the URL configuration, with its pattern."""
    for found in (resolver or get_resolver()).url_patterns:
        route = f"{prefix}{found.pattern}"
        if isinstance(found, URLResolver):
            yield from routes(found, route)
        else:
            yield route, found


@dataclass(frozen=True)
class World:
    """A team in which every kind of object exists that an address may name."""

    team: Team
    clients: dict[str, Client]
    keys: dict[str, Any]

    def address(self, route: str, **values: Any) -> str:
        """The address of a route, with its parameters filled in."""
        values = self.keys | {"team": self.team.slug} | values
        parts: list[str] = []
        for part in route.split("/"):
            part = part.replace("<str:form>", values["form"])
            gap = re.fullmatch(r"<\w+:(\w+)>", part)
            if gap is None:
                parts.append(part)
            elif gap[1] == "pk":
                kind = KINDS.get("/".join(parts[-2:])) or KINDS[parts[-1]]
                parts.append(str(values[kind]))
            else:
                parts.append(str(values[gap[1]]))
        return "/" + "/".join(parts)


@pytest.fixture
def world(team: Team, alice: User, bob: User, vera: User, audrey: User, charlie: User) -> World:
    gallery: Gallery = GalleryFactory.create(team=team, slug="harbour")
    photo: Photo = PhotoFactory.create(gallery=gallery)
    Photo.objects.update(prepared_at=timezone.now())
    link, shared = make_link(
        actor=Actor(alice, Source.PAGE), gallery=gallery, options=LinkOptions(allow_download=True)
    )
    inside = GalleryMember.objects.create(gallery=gallery, user=bob, role=Role.EDITOR)
    trashed: Photo = PhotoFactory.create(gallery=gallery, trashed_at=timezone.now())
    person: Person = PersonFactory.create(space=gallery.space, label="Anna")
    face: Face = FaceFactory.create(photo=photo, person=person)
    grouping = Grouping.objects.create(space=gallery.space, gallery=gallery)
    Person.objects.filter(pk=person.pk).update(grouping=grouping)
    enrolment = Enrolment.objects.create(
        person=person, face=face, state=EnrolmentState.FAILED, image="enrolments/one.jpg"
    )
    call = Call.objects.create(
        team=team,
        space=gallery.space,
        method="recognize",
        source=Source.WORKER,
        backend="embedded",
        answer='{"status":200}',
    )
    recognition = Recognition.objects.create(
        call=call, position=0, name="asked", image="probes/one", sha256="0" * 64
    )
    finding = Finding.objects.create(team=team, call=call, recognition=recognition, position=0)
    seen = Recognition.objects.create(
        call=call, position=1, name="seen", photo=photo, width=64, height=48
    )
    Face.objects.filter(pk=face.pk).update(recognition=seen)
    Finding.objects.create(
        team=team,
        call=call,
        recognition=seen,
        position=0,
        left=face.left,
        top=face.top,
        right=face.right,
        bottom=face.bottom,
    )
    snapshot = SpaceJob.objects.create(
        team=team,
        space=gallery.space,
        kind=SpaceJob.Kind.SNAPSHOT,
        state=JobState.DONE,
        file="snapshots/one.zip",
    )
    restore = SpaceJob.objects.create(
        team=team, space=gallery.space, kind=SpaceJob.Kind.RESTORE, snapshot=snapshot
    )
    other: Person = PersonFactory.create(space=gallery.space, label="Bea")
    likeness = Likeness.objects.create(space=gallery.space, one=person, other=other)
    change = Change.objects.create(
        team=team, space=gallery.space, kind=ChangeKind.CONFIRM, person=person, actor=alice
    )
    consent = Consent.objects.create(person=person, purpose="Photos of the trip")
    hold = LegalHold.objects.create(team=team, gallery=gallery, reason="Case 12")
    erased = Erasure.objects.create(
        team=team,
        space=gallery.space,
        number=0,
        person_id=99,
        reference="abc",
        certificate={"reference": "abc"},
        signature="00",
        state=JobState.DONE,
    )
    key, _ = create_key(actor=Actor(alice, Source.PAGE), team=team, name="door")
    membership: Membership = MembershipFactory.create(team=team, role=Role.VIEWER)
    invitation, token = invite_member(
        actor=Actor(alice, Source.PAGE), team=team, email="dana@example.org", role=Role.VIEWER
    )
    people = {
        "anonymous": None,
        "stranger": charlie,
        "viewer": vera,
        "editor": bob,
        "auditor": audrey,
        "owner": alice,
    }
    clients = {who: Client() for who in WHO}
    for who, user in people.items():
        if user is not None:
            clients[who].force_login(user)
    keys = {
        "slug": gallery.slug,
        "photo": photo.pk,
        "trashed": trashed.pk,
        "link": link.pk,
        "shared": shared,
        "gallery_member": inside.pk,
        "face": face.pk,
        "change": change.pk,
        "likeness": likeness.pk,
        "other": other.person_id,
        "grouping": grouping.pk,
        "enrolment": enrolment.pk,
        "call": call.pk,
        "membership": membership.pk,
        "invitation": invitation.pk,
        "key": key.pk,
        "recognition": recognition.pk,
        "position": 0,
        "finding": finding.pk,
        "job": restore.pk,
        "snapshot": snapshot.pk,
        "number": gallery.space.number,
        "person_id": person.person_id,
        "token": token,
        "what": "thumb",
        "anything": "else",
        "consent": consent.pk,
        "hold": hold.pk,
        "reference": erased.reference,
        "form": "csv",
    }
    return World(team, clients, keys)


def store_pictures() -> None:
    """Store the files that the picture views send."""
    photo, enrolment = Photo.objects.get(), Enrolment.objects.get()
    trashed = Photo.everything.exclude(trashed_at=None).get()
    recognition = Recognition.objects.earliest("pk")
    for key in (
        photo.key("thumb"),
        trashed.key("thumb"),
        photo.key("large"),
        enrolment.image,
        recognition.image,
    ):
        default_storage.save(key, ContentFile(jpeg()))


def ask(client: Client, method: str, address: str, data: dict[str, str]) -> Any:
    """Send one request, and roll its changes back."""
    sent = data if method in ("get", "post") else None
    try:
        with transaction.atomic():
            response = getattr(client, method)(address, sent)
            if response.streaming:
                b"".join(response.streaming_content)
            raise _TakeBack
    except _TakeBack:
        return response


class _TakeBack(Exception):
    pass
