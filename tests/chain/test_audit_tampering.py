"""Tampering with the audit in the database is detected, and the right entry is named."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import QuerySet
from django.utils import timezone

from persons.chain import entries, seals, signing, verify
from persons.chain.checking import check
from persons.models import (
    AuditChain,
    AuditEntry,
    AuditSeal,
    Source,
    Team,
    User,
)
from persons.pipeline.audit.sealing import seal_audit
from persons.vision.tokens import Secret
from tests.support import tampering
from tests.support.tampering import inserted, remove, rewrite, swap, written

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]

Chain = list[AuditEntry]


@pytest.fixture
def outside(settings: Any, tmp_path: Path) -> Path:
    """Where seals are copied to."""
    settings.AUDIT_SEALS = str(tmp_path / "elsewhere")
    return tmp_path / "elsewhere" / "trip.jsonl"


@pytest.fixture
def chain(team: Team, alice: User) -> Chain:
    """Twelve entries, with seals at the sixth and the twelfth."""
    return tampering.chain_of(team, alice)


def named(team: Team) -> tuple[int, str]:
    """The first bad entry's place, and what is said of it."""
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("audit_verify", team=team.slug, stdout=out)
    assert ended.value.code == 1
    found = check(team)
    assert out.getvalue() == f"trip: NOT WHOLE. {found.problem}\n"
    return found.sequence + 1, found.problem


FRAME: dict[str, Any] = {
    "at": timezone.now(),
    "actor": None,
    "actor_text": "Bob",
    "address": "192.0.2.8",
    "source": Source.COMMAND,
    "request_id": "s" * 32,
    "action": "gallery.open",
    "target_type": "photo",
    "target_id": "77",
    "digest": "0" * 64,
    "hash": "0" * 64,
    "previous": "0" * 64,
}
PAYLOAD: dict[str, Any] = {
    "target_text": "Another",
    "before": {"name": "another"},
    "after": {},
    "reason": "Another",
    "salt": "0" * 32,
    "erased_at": timezone.now(),
}


class TestAnEntry:
    @pytest.mark.parametrize("field", FRAME)
    def test_that_was_edited_is_named(self, team: Team, chain: Chain, field: str) -> None:
        rewrite(chain[4], **{field: FRAME[field]})
        place, problem = named(team)
        assert place == 5
        assert problem.startswith(f"entry 5 (number {chain[4].pk}): it was altered")

    @pytest.mark.parametrize("field", PAYLOAD)
    def test_whose_words_were_edited_is_named(self, team: Team, chain: Chain, field: str) -> None:
        rewrite(chain[4], **{field: PAYLOAD[field]})
        place, problem = named(team)
        assert place == 5 and "what it says of its target was altered" in problem

    def test_that_was_edited_and_hashed_anew_breaks_the_next(
        self, team: Team, chain: Chain
    ) -> None:
        chain[4].actor_text = "Bob"
        frame = entries.frame_of(chain[4], team.slug, 5, chain[4].previous)
        rewrite(chain[4], actor_text="Bob", hash=verify.hash_of(frame))
        place, problem = named(team)
        assert place == 6 and "does not follow the entry before it" in problem

    @pytest.mark.parametrize("position", [0, 4, 10])
    def test_that_was_deleted_is_named(self, team: Team, chain: Chain, position: int) -> None:
        remove(AuditEntry.objects.filter(pk=chain[position].pk))
        place, problem = named(team)
        assert place == position + 1
        assert problem == (
            f"entry {place}: it is missing; the next one is number {chain[position + 1].pk}."
        )

    def test_several_that_were_deleted_are_counted(self, team: Team, chain: Chain) -> None:
        remove(AuditEntry.objects.filter(sequence__in=[5, 6, 7]))
        assert named(team) == (5, "entry 5: entries 5 to 7 are missing.")

    def test_that_changed_places_is_named(self, team: Team, chain: Chain) -> None:
        swap(chain[4], chain[7])
        place, problem = named(team)
        assert place == 5 and f"number {chain[7].pk}" in problem and "was altered" in problem

    def test_that_was_inserted_is_named(self, team: Team, chain: Chain) -> None:
        (forged,) = inserted(chain[4], actor_text="Bob")
        assert named(team) == (
            13,
            f"entry number {forged.pk}: it was not written by this server.",
        )

    def test_that_was_inserted_as_a_copy_of_another_is_never_sealed(
        self, team: Team, chain: Chain
    ) -> None:
        inserted(chain[4])
        assert seal_audit() == 0
        assert "is a copy of another entry" in AuditChain.objects.get(team=team).sealing_problem
        place, problem = named(team)
        assert place == 13 and "copy of another entry" in problem

    def test_that_was_inserted_between_others_is_named(self, team: Team, chain: Chain) -> None:
        with tampering.by_hand():
            rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
            for one in reversed(chain[6:]):
                rows.filter(pk=one.pk).update(sequence=(one.sequence or 0) + 1)
        like, before = chain[6], chain[5]
        like.pk += 1000
        frame = entries.frame_of(like, team.slug, 7, before.hash)
        digest = verify.hash_of(frame)
        inserted(chain[5], pk=like.pk, sequence=7, previous=before.hash, hash=digest)
        place, problem = named(team)
        assert place == 7 and "was altered" in problem

    def test_that_was_added_at_the_end_is_named(self, team: Team, chain: Chain) -> None:
        (forged,) = inserted(chain[4], sequence=13, previous=chain[-1].hash)
        assert named(team)[0] == 13
        frame = entries.frame_of(forged, team.slug, 13, chain[-1].hash)
        rewrite(forged, hash=verify.hash_of(frame))
        assert named(team) == (
            13,
            f"entry 13 (number {forged.pk}): it is beyond the chain's head: it was inserted.",
        )
        AuditChain.objects.update(sequence=13, hash=verify.hash_of(frame))
        assert named(team)[1] == "entry 13: the chain's head is not signed by this server."


class TestTheEnd:
    def test_that_was_cut_off_is_missed(self, team: Team, chain: Chain) -> None:
        remove(AuditEntry.objects.filter(sequence__gt=9))
        place, problem = named(team)
        assert place == 10 and "it is missing" in problem

    def test_that_was_cut_off_with_all_that_spoke_of_it_is_seen_from_outside(
        self, team: Team, outside: Path, chain: Chain
    ) -> None:
        self.cut(team)
        place, problem = named(team)
        assert place == 7
        assert "entry 7: it is missing: the seal kept outside" in problem
        assert "names entry 12, so the end was cut off" in problem

    def cut(self, team: Team) -> None:
        first, last = AuditSeal.objects.order_by("sequence")
        remove(AuditEntry.objects.filter(sequence__gt=6))
        remove(AuditSeal.objects.filter(pk=last.pk))
        AuditChain.objects.filter(team=team).update(
            sequence=6, hash=first.hash, sealed_at=first.at, signature=first.signature
        )

    def test_that_was_cut_off_and_grown_again_is_seen_from_outside(
        self, team: Team, outside: Path, chain: Chain
    ) -> None:
        self.cut(team)
        written(team, count=8)
        seal_audit()
        place, problem = named(team)
        assert place == 12
        assert "not the one that the seal kept outside" in problem
        assert "one after entry 6, was altered, or an older backup was restored" in problem

    def test_an_older_backup_is_seen_from_outside(
        self, team: Team, alice: User, outside: Path
    ) -> None:
        tampering.chain_of(team, alice)
        saved = tampering.backup()
        written(team, alice, 3)
        seal_audit()
        assert check(team) == (15, "")
        tampering.restore(saved)
        place, problem = named(team)
        assert place == 13 and "older backup was restored" in problem
        written(team, alice, 5)
        AuditChain.objects.update(signed_at=None)
        seal_audit()
        place, problem = named(team)
        assert place == 15 and "older backup was restored" in problem

    def test_without_anything_outside_an_older_backup_is_a_whole_chain(
        self, team: Team, alice: User
    ) -> None:
        tampering.chain_of(team, alice)
        saved = tampering.backup()
        written(team, alice, 3)
        seal_audit()
        tampering.restore(saved)
        assert check(team) == (12, "")


class TestASeal:
    @pytest.mark.parametrize(
        "columns",
        [{"hash": "0" * 64}, {"at": timezone.now()}, {"signature": "00" * 64}, {"sequence": 7}],
    )
    def test_that_was_edited_is_named(
        self, team: Team, chain: Chain, columns: dict[str, Any]
    ) -> None:
        rewrite(AuditSeal.objects.get(sequence=6), **columns)
        place, problem = named(team)
        assert place == columns.get("sequence", 6)
        assert "was altered: its signature does not fit" in problem

    def test_outside_that_was_edited_is_named(
        self, team: Team, outside: Path, chain: Chain
    ) -> None:
        first, last = outside.read_text().splitlines()
        outside.write_text(f"{first.replace('0', '1')}\n{last}\n")
        place, problem = named(team)
        assert place == 6 and "the seal kept outside" in problem
        outside.write_text(f"no seal\n{last}\n")
        assert "can't be read" in named(team)[1]

    def test_outside_that_cannot_be_read_is_said(
        self, team: Team, outside: Path, chain: Chain
    ) -> None:
        outside.unlink()
        outside.mkdir()
        assert "the seals that are kept outside can't be read" in named(team)[1]

    def test_by_another_key_is_named_however_well_it_all_fits(
        self, team: Team, chain: Chain, settings: Any
    ) -> None:
        """Everything is written anew, from a changed entry on, by somebody with a key of theirs."""
        ours, settings.AUDIT_KEY = settings.AUDIT_KEY, Secret("ef" * 32)
        chain[2].actor_text = "Bob"
        rewrite(chain[2], actor_text="Bob")
        previous = ""
        hashes = {}
        for number, one in enumerate(chain, 1):
            frame = entries.frame_of(one, team.slug, number, previous)
            rewrite(one, previous=previous, hash=verify.hash_of(frame))
            previous = hashes[number] = verify.hash_of(frame)
        for seal in AuditSeal.objects.all():
            said = seals.statement("trip", seal.sequence, hashes[seal.sequence], seal.at)
            key, signature = signing.sign(said)
            rewrite(seal, hash=hashes[seal.sequence], key=key, signature=signature)
        head = AuditChain.objects.get(team=team)
        head.hash = hashes[12]
        seals.sign_head(head, "trip")
        head.save()
        assert check(team) == (12, ""), "the forger did not do it well"
        settings.AUDIT_KEY = ours
        place, problem = named(team)
        assert place == 6 and "signed by a key that is not this server's" in problem
