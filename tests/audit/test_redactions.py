"""Signed entries vouch for redactions of the audit; anything else missing counts as tampering."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from persons import audit
from persons.audit import redactions
from persons.chain import entries, records, verify
from persons.chain.checking import check
from persons.models import AuditChain, AuditEntry, Call, Finding, Recognition, Team, User
from persons.models.audit import FRAME_VERSION
from persons.pipeline.audit.sealing import seal_audit
from tests.support import tampering
from tests.support.audit_exports import lines_of, run, unpacked, write
from tests.support.calls import begun, ended
from tests.support.tampering import erased, rewrite, written

pytestmark = pytest.mark.django_db

UNPROVEN = "what it says of its target was erased, and no later entry vouches for that"


def blank_by_sql(entry: AuditEntry, **left: object) -> None:
    """As an erasure does it, with the triggers on and without a key."""
    rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
    columns = {**verify.ERASED, "salt": "", "erased_at": timezone.now(), **left}
    assert rows.filter(pk=entry.pk).update(**columns) == 1


@pytest.fixture
def call(team: Team, alice: User) -> Call:
    found = ended(begun(team, alice))
    Finding.objects.create(
        team=team, call=found, recognition=found.rows[0], position=0, similarity=0.5
    )
    redacted = AuditEntry.objects.get()
    said = next(records.stored([found.pk]))
    after = records.seal_record(*said)
    said[0].save(update_fields=["salt", "digest"])
    tampering.remove(AuditEntry.objects.filter(pk=redacted.pk))
    audit.record(
        actor=tampering.actor(alice),
        team=team,
        action="call.recognize",
        target=found,
        after=after,
    )
    seal_audit()
    assert check(team).problem == ""
    return Call.objects.get(pk=found.pk)


def recompute(call: Call) -> str:
    """What whoever has the database can: the digest of the record as it is now."""
    found = next(records.stored([call.pk]))
    found[0].salt = "0" * 32
    digest = records.digest_of(*found)
    Call.objects.filter(pk=call.pk).update(salt="0" * 32, digest=digest)
    return digest


BLANKED: dict[str, Callable[[str], dict[str, Any]]] = {
    "wholly": lambda digest: {},
    "but for another digest": lambda digest: {
        "after": {"outcome": "done", "record": digest},
        "salt": "1" * 32,
    },
}


class TestAnAttackerWithSqlAndNoKey:
    @pytest.mark.parametrize("how", BLANKED)
    @pytest.mark.parametrize("is_sealed", [True, False])
    def test_does_not_rewrite_a_recognition(
        self, team: Team, alice: User, call: Call, tmp_path: Path, how: str, is_sealed: bool
    ) -> None:
        """The attack: blank the call's entry, change the record, recompute the digests."""
        if not is_sealed:
            call = ended(begun(team, alice))
            Finding.objects.create(
                team=team, call=call, recognition=call.rows[0], position=0, similarity=0.5
            )
        entry = AuditEntry.objects.filter(target_id=str(call.pk)).latest("pk")
        Finding.objects.filter(call=call).update(similarity=0.99)
        Call.objects.filter(pk=call.pk).update(reason="another", address="198.51.100.1")
        blank_by_sql(entry, **BLANKED[how](recompute(call)))
        found = check(team)
        assert f"(number {entry.pk}): {UNPROVEN}" in found.problem or (
            f"entry number {entry.pk}: {UNPROVEN}" in found.problem
        )
        seal_audit()
        assert UNPROVEN in check(team).problem
        checked = run(unpacked(team, tmp_path / "export"))
        assert checked.returncode == 1
        assert f"(number {entry.pk}): {UNPROVEN}" in checked.stdout
        assert "is whole" not in checked.stdout

    @pytest.mark.thorough
    def test_does_not_vouch_for_it_with_an_entry_of_their_own(
        self, team: Team, call: Call, tmp_path: Path
    ) -> None:
        entry = AuditEntry.objects.get(target_type="call")
        blank_by_sql(entry)
        now = verify.salted("", verify.ERASED)
        said = {"redacted": [[entry.pk, entry.sequence, entry.digest, now]]}
        (forged,) = tampering.inserted(entry, action=verify.REDACT, after=said)
        assert f"entry number {forged.pk}: it was not written by this server" in check(team).problem
        assert seal_audit() == 0
        assert UNPROVEN in run(unpacked(team, tmp_path / "export")).stdout

    @pytest.mark.parametrize("field", ["target_text", "before", "after", "reason"])
    def test_does_not_change_what_an_erasure_has_left(
        self, team: Team, alice: User, field: str, tmp_path: Path
    ) -> None:
        chain = tampering.chain_of(team, alice)

        def clean(entry: AuditEntry) -> dict[str, Any]:
            return entries.payload_of(entry) | {"reason": ""}

        redactions.redact([chain[2].pk], clean, actor=tampering.actor(alice), team=team)
        seal_audit()
        assert check(team).problem == ""
        left = {"before": {"name": "x"}, "after": {"name": "x"}}.get(field, "")
        payload = clean(chain[2]) | {field: left}
        if payload != clean(chain[2]):
            blank_by_sql(chain[2], **payload, salt="2" * 32)
        else:
            rewrite(chain[2], reason="put back")
        assert check(team).problem.startswith(f"entry 3 (number {chain[2].pk}): {UNPROVEN}")
        assert UNPROVEN in run(unpacked(team, tmp_path / "export")).stdout

    def test_does_not_have_an_alteration_vouched_for_by_an_erasure_that_comes_later(
        self, team: Team, alice: User
    ) -> None:
        chain = tampering.chain_of(team, alice)
        rewrite(chain[2], after={"name": "another"})
        redactions.redact(
            [chain[2].pk],
            lambda entry: entries.payload_of(entry) | {"reason": ""},
            actor=tampering.actor(alice),
            team=team,
        )
        assert UNPROVEN in check(team).problem

    def test_does_not_blank_the_entry_that_vouches(self, team: Team, alice: User) -> None:
        chain = tampering.chain_of(team, alice)
        erased(team, chain[2].pk)
        seal_audit()
        blank_by_sql(AuditEntry.objects.get(action=verify.REDACT))
        assert "it is said to be erased, and is not" in check(team).problem


class TestAnErasure:
    def test_of_two_people_in_one_entry_is_vouched_for_step_by_step(
        self, team: Team, alice: User, tmp_path: Path
    ) -> None:
        chain = tampering.chain_of(team, alice)
        for fields in (("before",), ("before", "after")):

            def clean(entry: AuditEntry, gone: tuple[str, ...] = fields) -> dict[str, Any]:
                return entries.payload_of(entry) | {key: {} for key in gone}

            assert redactions.redact([chain[2].pk], clean, actor=tampering.actor(), team=team) == 1
        seal_audit()
        assert check(team).problem == ""
        found = run(unpacked(team, tmp_path / "export"))
        assert found.returncode == 0, found.stdout

    def test_of_very_many_entries_is_vouched_for_by_several(
        self, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redactions, "AT_ONCE", 2)
        chain = tampering.chain_of(team, alice)
        assert erased(team, *(entry.pk for entry in chain[:5])) == 5
        assert AuditEntry.objects.filter(action=verify.REDACT).count() == 3
        seal_audit()
        assert check(team).problem == ""

    def test_while_an_export_is_made_is_in_it(
        self, team: Team, alice: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from persons.audit import export as audit_export

        chain = tampering.chain_of(team, alice)
        line_of = audit_export._line

        def late(entry: AuditEntry, slug: str) -> bytes:
            if entry.pk == chain[0].pk:
                erased(team, chain[3].pk)
            return line_of(entry, slug)

        monkeypatch.setattr(audit_export, "_line", late)
        monkeypatch.setattr(audit_export, "READ_AT_ONCE", 1)
        folder = unpacked(team, tmp_path / "export")
        if connection.vendor == "sqlite":  # PostgreSQL's cursor reads what was there at its start.
            assert any(line["erased_at"] for line in lines_of(folder / "entries.jsonl"))
        found = run(folder)
        assert found.returncode == 0, found.stdout


class TestAnUpgrade:
    """Entries of version 1 are from before redactions were signed."""

    @pytest.fixture
    def old(self, team: Team, alice: User) -> list[AuditEntry]:
        """A chain of then, in which the third and the last, which waits, were blanked."""

        def as_then(entry: AuditEntry) -> None:
            entry.version = 1
            entries.mark(entry, team.slug)
            rewrite(entry, version=1, salt=entry.salt, digest=entry.digest, stamp=entry.stamp)

        chain = written(team, alice, 5)
        for entry in chain:
            as_then(entry)
        seal_audit()
        AuditChain.objects.update(signed_at=None)
        (waiting,) = written(team, alice)
        as_then(waiting)
        for entry in (chain[2], waiting):
            blank_by_sql(entry)
        return [*chain, waiting]

    def test_vouches_once_for_what_was_blanked_and_lists_it(
        self, team: Team, old: list[AuditEntry], tmp_path: Path
    ) -> None:
        assert UNPROVEN in check(team).problem
        assert redactions.vouch_for_old() == 1
        assert redactions.vouch_for_old() == 0
        said = AuditEntry.objects.get(action=verify.UPGRADE)
        assert [one[0] for one in said.after["redacted"]] == [old[2].pk, old[5].pk]
        assert said.after["blanked"] == 2 and said.version == FRAME_VERSION == verify.FRAME_VERSION
        assert check(team).problem == ""
        seal_audit()
        assert check(team).problem == ""
        out = StringIO()
        call_command("audit_verify", team=team.slug, stdout=out)
        assert "2 of them were blanked before redactions were signed" in out.getvalue()
        found = run(unpacked(team, tmp_path / "export"))
        assert found.returncode == 0, found.stdout
        assert "Blanked before redactions were signed" in found.stdout
        assert "2 (entries 3, 6)" in found.stdout

    def test_does_not_vouch_for_anything_that_is_blanked_later(
        self, team: Team, old: list[AuditEntry], alice: User
    ) -> None:
        redactions.vouch_for_old()
        (new,) = written(team, alice)
        seal_audit()
        for entry in (old[1], new):
            found = AuditEntry.objects.get(pk=entry.pk)
            blank_by_sql(found)
            assert f"(number {entry.pk}): {UNPROVEN}" in check(team).problem
            assert redactions.vouch_for_old() == 0
            rewrite(found, **entries.payload_of(found), salt=found.salt, erased_at=None)
            assert check(team).problem == ""

    def test_a_second_one_is_not_believed(self, team: Team, old: list[AuditEntry]) -> None:
        redactions.vouch_for_old()
        audit.record(
            actor=redactions.ROBOT, team=team, action=verify.UPGRADE, after={"redacted": []}
        )
        assert "only once" in check(team).problem

    def test_a_young_chain_has_none(self, team: Team, alice: User) -> None:
        written(team, alice, 3)
        assert redactions.vouch_for_old() == 0

    def test_a_call_whose_entry_was_blanked_is_vouched_for_as_it_is_found(
        self, team: Team, alice: User, tmp_path: Path
    ) -> None:
        call = ended(begun(team, alice))
        entry = AuditEntry.objects.get()
        entry.version = 1
        entries.mark(entry, team.slug)
        rewrite(entry, version=1, salt=entry.salt, digest=entry.digest, stamp=entry.stamp)
        seal_audit()
        blank_by_sql(entry)
        redactions.vouch_for_old()
        seal_audit()
        assert check(team).problem == ""
        found = run(unpacked(team, tmp_path / "export"))
        assert found.returncode == 0 and "NOT checked: 1" not in found.stdout
        Recognition.objects.filter(call=call).update(name="another")
        assert "was altered since" in check(team).problem

    def test_an_export_of_an_earlier_version_is_checked_and_says_what_it_can_not(
        self, team: Team, old: list[AuditEntry], tmp_path: Path
    ) -> None:
        folder = unpacked(team, tmp_path / "export")
        lines = lines_of(folder / "entries.jsonl")[:5]
        write(folder / "entries.jsonl", lines)
        kept = [one for one in lines_of(folder / "seals.jsonl") if one["sequence"] <= 5]
        write(folder / "seals.jsonl", kept)
        about = json.loads((folder / "export.json").read_text())
        about.update(entries=5, hash=lines[-1]["hash"], calls_until=5)
        (folder / "export.json").write_text(json.dumps(about))
        found = run(folder)
        assert found.returncode == 0, found.stdout
        assert "Blanked before redactions were signed" in found.stdout and "1 (entries 3)" in (
            found.stdout
        )
