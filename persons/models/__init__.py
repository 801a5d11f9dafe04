"""The database's tables. Other packages import models from here.

The modules import each other in one direction. A foreign key to a table of a later module has its
name as a text: "persons.Space".
"""

from persons.models.audit import AuditChain, AuditConcern, AuditEntry, AuditSeal
from persons.models.calls import Call, Finding, Recognition, Source
from persons.models.changes import Change, ChangedFace, ChangeKind, Likeness
from persons.models.cloud import CloudBucket, CloudCircuit, CloudToken, Meter, MonthTotal
from persons.models.engine import EngineEmbedding, EngineSpace
from persons.models.enrolments import Enrolment, EnrolmentState
from persons.models.faces import Decision, Face, Rejection, Review
from persons.models.galleries import Arrival, Gallery, GalleryMember, Photo, PhotoState, ShareLink
from persons.models.keys import ApiKey, KeyDay
from persons.models.names import NameStart
from persons.models.people import Person, SyncState
from persons.models.privacy import Consent, ErasedPicture, Erasure, LegalHold, RetentionRun
from persons.models.runs import Run
from persons.models.spaces import Space
from persons.models.teams import Invitation, Membership, Role, Team, User
from persons.models.throttles import Throttle
from persons.models.work import (
    FaceVector,
    Grouping,
    JobState,
    ReviewHold,
    ReviewPlace,
    SpaceJob,
)

__all__ = [
    "ApiKey",
    "Arrival",
    "AuditChain",
    "AuditConcern",
    "AuditEntry",
    "AuditSeal",
    "Call",
    "Change",
    "ChangeKind",
    "ChangedFace",
    "CloudBucket",
    "CloudCircuit",
    "CloudToken",
    "Consent",
    "Decision",
    "EngineEmbedding",
    "EngineSpace",
    "Enrolment",
    "EnrolmentState",
    "ErasedPicture",
    "Erasure",
    "Face",
    "FaceVector",
    "Finding",
    "Gallery",
    "GalleryMember",
    "Grouping",
    "Invitation",
    "JobState",
    "KeyDay",
    "LegalHold",
    "Likeness",
    "Membership",
    "Meter",
    "MonthTotal",
    "NameStart",
    "Person",
    "Photo",
    "PhotoState",
    "Recognition",
    "Rejection",
    "RetentionRun",
    "Review",
    "ReviewHold",
    "ReviewPlace",
    "Role",
    "Run",
    "ShareLink",
    "Source",
    "Space",
    "SpaceJob",
    "SyncState",
    "Team",
    "Throttle",
    "User",
]
