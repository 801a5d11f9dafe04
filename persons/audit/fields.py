"""Declares the kind of every field in every audit action's payload.

An erasure redacts entries by these kinds and by ids, never by searching texts. Declare each new
action and each new key here; a test checks all callers of `record`.
"""

from __future__ import annotations

from enum import StrEnum


class Field(StrEnum):
    """The kind of a field's value, which decides what an erasure does to it."""

    FACT = "fact"
    """Counts, keys of rows, settings, names of things, accounts and galleries. Never erased."""
    NAME = "name"
    """A person's name. Erased if an id in the entry shows that it is the erased person's."""
    NUMBER = "number"
    """A person's number in the space of the entry."""
    NUMBERS = "numbers"
    """A list of numbers."""
    TAG = "tag"
    """A person's number as the wire writes it, such as "person12"."""
    TEXT = "text"
    """A text by a user about the person whom the entry concerns."""
    DIGEST = "digest"
    """The digest of an enrolled picture."""
    FILTERS = "filters"
    """Filters of the history; `person` may be the erased person."""
    SAID = "said"
    """A decision in the form that `persons.chain.facts` compares; `label` may be their name."""


F = Field.FACT

_FACE = {"decision": F, "person": Field.TAG, "label": Field.NAME, "said": Field.SAID}
_FACES = {"faces": F, "change": F, "label": Field.NAME, "said": Field.SAID}
_PHOTOS = {"gallery": F, "photos": F, "ids": F}
_CALL = {"outcome": F, "record": F, "key": F}
_BOX = {"photo": F, "box": F}
_BY = {"call": F, "key": F}
_RUN = {"snapshot": F, "size": F}
_CONSENT = {"consent": F, "purpose": Field.TEXT, "document": Field.TEXT, "given_at": F}
_CONSENT |= {"until": F}
_ERASURE = {"space": F, "person_id": F, "reference": F, "photos": F, "replayed": F}
_POLICY = dict.fromkeys(
    (
        "name",
        "update_embedding",
        "create_new",
        "show_attributes",
        "searcher",
        "threshold",
        "confirm_threshold",
        "require_consent",
    ),
    F,
)
_LINK = dict.fromkeys(
    (
        "gallery",
        "title",
        "expires_at",
        "password",
        "show_names",
        "show_details",
        "allow_download",
        "keep_place",
    ),
    F,
)

FIELDS: dict[str, dict[str, Field]] = {
    "photo.upload": {"gallery": F, "sha256": Field.DIGEST, "size": F},
    "photo.recognise": {},
    "photo.trash": _PHOTOS,
    "photo.restore": _PHOTOS,
    "photos.trash": _PHOTOS,
    "photos.restore": _PHOTOS,
    "photos.purge": _PHOTOS | {"erasure": F},
    "photos.move": _PHOTOS,
    "photos.recognise": {"photos": F, "ids": F},
    "photo.download": {},
    "photo.sent": {},
    "photos.download": {"photos": F, "ids": F},
    "trash.empty": {"photos": F, "held": F},
    "gallery.create": {"name": F, "slug": F, "space": F},
    "gallery.rename": {"name": F},
    "gallery.recognise": {"photos": F},
    "gallery.close": {},
    "gallery.open": {},
    "gallery.member": {"user": F, "role": F},
    "gallery.unmember": {"user": F, "role": F},
    "link.create": _LINK,
    "link.revoke": {},
    "link.view": {"visits": F},
    "link.download": {"photos": F},
    "face.name": _FACE,
    "face.reject": _FACE,
    "face.ignore": _FACE,
    "face.clear": _FACE,
    "face.draw": _BOX,
    "face.erase": _BOX,
    "faces.name": _FACES,
    "faces.confirm": _FACES,
    "faces.reject": _FACES,
    "faces.ignore": _FACES,
    "change.undo": {"kind": F, "faces": F, "label": Field.NAME, "undone_at": F},
    "grouping.start": {"space": F, "gallery": F, "faces": F, "threshold": F},
    "grouping.threshold": {"threshold": F},
    "grouping.make": {"people": F, "faces": F},
    "grouping.cancel": {"state": F},
    "person.create": _BY | {"space": F, "person_id": Field.NUMBER, "label": Field.NAME},
    "person.view": {"space": F, "person_id": Field.NUMBER},
    "people.view": {},
    "person.learn": _BY | {"people": Field.NUMBERS},
    "person.rename": {"label": Field.NAME},
    "person.cover": {"face": F},
    "person.hide": {"hidden": F},
    "person.notes": {"notes": Field.TEXT},
    "person.merge": {"into": Field.NAME, "faces": F, "change": F, "said": Field.SAID},
    "person.split": {"to": Field.NAME, "faces": F, "change": F, "said": Field.SAID},
    "people.differ": {"other": Field.NAME, "other_pk": F},
    "people.same": {"other": Field.NAME, "other_pk": F},
    "person.remove": {"label": Field.NAME, "person_id": Field.NUMBER},
    "person.erase": _ERASURE,
    "person.erased": _ERASURE | {"destroyed": F, "vision": F},
    "erasure.retry": {},
    "person.sync": {},
    "enrolment.remove": {"person_id": Field.NUMBER, "sha256": Field.DIGEST},
    "enrolment.picture": {},
    "enrolment.retry": {},
    "consent.record": _CONSENT,
    "consent.withdraw": _CONSENT,
    "hold.set": {"hold": F},
    "hold.release": {"hold": F, "reason": Field.TEXT},
    "team.retention": {"probe_days": F, "unknown_days": F, "history_days": F, "trash_days": F},
    "retention.run": {"removed": F, "rules": F},
    "certificate.expire": {"kept_until": F},
    "person.report": {"file": F},
    "space.policy": _POLICY,
    "space.empty": _RUN,
    "space.truncate": {"enrolments": F, "snapshot": F},
    "space.snapshot": _RUN,
    "space.restore": {"snapshot": F, "enrolments": F, "with_policy": F},
    "space.restored": {
        "snapshot": F,
        "made": F,
        "enrolments": F,
        "refused": F,
        "without_consent": F,
    },
    "snapshot.upload": {"name": F},
    "snapshot.download": _RUN,
    "snapshot.delete": _RUN,
    "job.cancel": {},
    "job.retry": {},
    "person.enrol": _BY | {"people": Field.NUMBERS},
    "person.delete": {"people": Field.NUMBERS, "enrolments": F},
    "key.create": {
        "methods": F,
        "spaces": F,
        "scopes": F,
        "daily_images": F,
        "fit": F,
        "expires_at": F,
    },
    "key.scopes": {"scopes": F},
    "key.revoke": {},
    "account.sign_in": {},
    "account.sign_out": {},
    "account.refused": {"name": F},
    "account.password": {},
    "audit.begin": {"calls_before": F},
    "audit.export": {},
    "audit.verify": {},
    "audit.redact": {"redacted": F},
    "audit.upgrade": {"redacted": F, "blanked": F, "changes_before": F, "people_before": F},
    "call.recognize": _CALL,
    "call.set": _CALL,
    "call.delete": _CALL,
    "call.truncate": _CALL,
    "call.redact": _CALL,
    "call.expire": _CALL,
    "call.adopt": _CALL,
    "history.view": {"call": F},
    "history.picture": {"call": F, "recognition": F},
    "evidence.open": {"call": F, "recognition": F, "position": F},
    "history.export": {"filters": Field.FILTERS, "format": F},
    "history.exported": {"rows": F, "complete": F},
    "reason.given": {"purpose": F},
    "team.create": {"owner": F},
    "team.settings": {"monthly_budget": F, "keep_probes": F},
    "team.reasons": {"require_reasons": F, "reason_choices": F},
    "invitation.create": {"email": F, "role": F},
    "invitation.revoke": {},
    "invitation.accept": {"user": F, "role": F, "new": F},
    "member.role": {"role": F},
    "member.remove": {"role": F},
}


def undeclared(action: str, keys: set[str]) -> set[str]:
    """Keys of a payload that aren't declared; all of them if the action isn't declared."""
    return keys - set(FIELDS.get(action, {}))
