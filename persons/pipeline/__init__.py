"""What a worker does: prepare a photo, recognise a batch, bring a person in step, go on with a job.

Every step claims its rows by compare-and-swap and commits the claim before it works; the work
itself (decoding, Vision) runs outside any transaction; its result is stored only by whoever still
holds the claim. So a step may be cut off anywhere and done again.
"""

from persons.pipeline.erasing import erase, release_erasures
from persons.pipeline.grouping import group_faces
from persons.pipeline.jobs import release_jobs, work
from persons.pipeline.leftovers import Left, release_claims, sweep
from persons.pipeline.people import look_for, sync
from persons.pipeline.preparing import prepare
from persons.pipeline.purging import purge_trash
from persons.pipeline.recognising import recognise_batch
from persons.pipeline.retention import keep_rules
from persons.pipeline.sealing import seal_audit
from persons.pipeline.verifying import ask_for_all, left_verifications, verify_chain

__all__ = [
    "Left",
    "ask_for_all",
    "erase",
    "group_faces",
    "keep_rules",
    "left_verifications",
    "look_for",
    "prepare",
    "purge_trash",
    "recognise_batch",
    "release_claims",
    "release_erasures",
    "release_jobs",
    "seal_audit",
    "sweep",
    "sync",
    "verify_chain",
    "work",
]
