"""The work of background workers: prepare, recognise, sync, jobs, erasures, retention, audit.

Every step claims its rows by compare-and-swap and commits the claim before it works. Decoding and
calls to Vision run outside any transaction. Only a worker that still holds the claim stores a
result, so a step may be cut off anywhere and repeated.
"""

from persons.pipeline.audit.sealing import seal_audit
from persons.pipeline.audit.verifying import request_verification, verify_chain
from persons.pipeline.enrolment.people import sync
from persons.pipeline.enrolment.rescan import rescan_for
from persons.pipeline.identity.grouping import group_faces
from persons.pipeline.kinds import Preparing  # noqa: F401  (registers the kinds of work)
from persons.pipeline.privacy.erasing import erase
from persons.pipeline.privacy.purging import purge_trash
from persons.pipeline.privacy.retention import keep_rules
from persons.pipeline.recognition.preparing import prepare
from persons.pipeline.recognition.recognising import recognise_batch
from persons.pipeline.spaces.jobs import work
from persons.pipeline.sweeper import kinds_with_work, release_claims, release_dead, sweep

__all__ = [
    "erase",
    "group_faces",
    "keep_rules",
    "kinds_with_work",
    "prepare",
    "purge_trash",
    "recognise_batch",
    "release_claims",
    "release_dead",
    "request_verification",
    "rescan_for",
    "seal_audit",
    "sweep",
    "sync",
    "verify_chain",
    "work",
]
