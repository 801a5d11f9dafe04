"""Access control: who may see and change what. Pages, REST, media and proxy check access only here.

Strangers get 404, as if the object did not exist. Members whose role lacks the right get 403.

- People belong to the team: every member who may see galleries sees their names.
- A gallery is open to the whole team, or closed to all but its own members and the team's owners.
  For everybody else a closed gallery, its photos and its faces don't exist (404).
- Auditors read all of spaces, history, evidence and audit, and change nothing. Lists of people
  answer 403, a person 404. They may look at the galleries that an owner shares with them, open or
  closed, with photos and faces.

The `*_for` functions return one object. `faces`, `photos`, `people`, `calls` and `changes` return
rows for the keys that a request names. `visible` offers querysets for lists and counts.
"""

from __future__ import annotations

from persons.access.calls import (
    audit_for,
    call_for,
    entry_is_closed,
    erasure_for,
    erasures_for,
    finding_by_pk,
    finding_for,
    finding_is_closed,
    of_unknown_gallery,
    recognition_for,
    records_hidden_from,
    space_for,
    space_job_for,
)
from persons.access.galleries import (
    face_for,
    galleries_seen_by,
    galleries_written_by,
    gallery_for,
    photo_for,
    rights_in,
)
from persons.access.people import (
    change_for,
    consent_for,
    enrolment_for,
    grouping_for,
    likeness_for,
    person_for,
    person_to_erase,
)
from persons.access.readers import Visible, visible, visible_records, visible_to_decide
from persons.access.roles import (
    RIGHTS,
    Asker,
    Right,
    asking_once,
    memberships_of,
    rights_of,
    team_for,
    teams_for,
)
from persons.access.rows import calls, changes, faces, people, photos
from persons.access.team import (
    gallery_member_for,
    hold_for,
    invitation_for,
    key_for,
    link_for,
    membership_for,
)

__all__ = [
    "RIGHTS",
    "Asker",
    "Right",
    "Visible",
    "asking_once",
    "audit_for",
    "call_for",
    "calls",
    "change_for",
    "changes",
    "consent_for",
    "enrolment_for",
    "entry_is_closed",
    "erasure_for",
    "erasures_for",
    "face_for",
    "faces",
    "finding_by_pk",
    "finding_for",
    "finding_is_closed",
    "galleries_seen_by",
    "galleries_written_by",
    "gallery_for",
    "gallery_member_for",
    "grouping_for",
    "hold_for",
    "invitation_for",
    "key_for",
    "likeness_for",
    "link_for",
    "membership_for",
    "memberships_of",
    "of_unknown_gallery",
    "people",
    "person_for",
    "person_to_erase",
    "photo_for",
    "photos",
    "recognition_for",
    "records_hidden_from",
    "rights_in",
    "rights_of",
    "space_for",
    "space_job_for",
    "team_for",
    "teams_for",
    "visible",
    "visible_records",
    "visible_to_decide",
]
