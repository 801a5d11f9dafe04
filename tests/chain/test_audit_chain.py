"""The audit's hash chain: how entries are added, and which changes the database refuses."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from persons import audit
from persons.chain import entries, seals, signing, triggers, verify
from persons.chain.checking import check
from persons.models import AuditChain, AuditEntry, AuditSeal, Team, User
from persons.pipeline.audit import sealing
from persons.pipeline.audit.sealing import seal_audit, seal_batch
from persons.vision.tokens import Secret
from tests.support import tampering
from tests.support.tampering import written

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain(team: Team, alice: User) -> list[AuditEntry]:
    return tampering.chain_of(team, alice)


class TestSealing:
    def test_gives_every_entry_its_place(self, team: Team, chain: list[AuditEntry]) -> None:
        assert [entry.sequence for entry in chain] == list(range(1, 13))
        assert [entry.previous for entry in chain[1:]] == [entry.hash for entry in chain[:-1]]
        head = AuditChain.objects.get(team=team)
        assert (head.sequence, head.hash) == (12, chain[-1].hash)
        assert check(team) == (12, "")

    def test_gives_each_team_and_the_installation_a_chain_of_its_own(
        self, team: Team, charlie: User
    ) -> None:
        other = charlie.teams.get()
        for one in (team, other, None, team):
            written(one)
        assert seal_audit() == 4
        assert [check(one).sequence for one in (team, other, None)] == [2, 1, 1]

    def test_finds_an_entry_whose_transaction_took_longer(
        self, team: Team, chain: list[AuditEntry]
    ) -> None:
        late = audit.new_entry(actor=tampering.actor(), team=team, action="late.one", target=team)
        late.pk = -5
        late.save(force_insert=True)
        seal_audit()
        late.refresh_from_db()
        assert late.sequence == 13 and check(team) == (13, "")

    def test_takes_as_many_batches_as_it_needs(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "SEALED_AT_ONCE", 4)
        written(team, count=11)
        assert seal_audit() == 11
        assert check(team) == (11, "")

    def test_leaves_out_what_was_slipped_in_and_goes_on_with_the_rest(
        self, team: Team, chain: list[AuditEntry]
    ) -> None:
        (forged,) = tampering.inserted(chain[3], stamp="0" * 64)
        (copied,) = tampering.inserted(chain[3])
        (true,) = written(team)
        (altered,) = written(team)
        tampering.rewrite(altered, after={"name": "another"})
        assert seal_audit() == 1
        assert set(AuditEntry.objects.filter(sequence=None)) == {forged, copied, altered}
        true.refresh_from_db()
        assert true.sequence == 13
        problem = AuditChain.objects.get(team=team).sealing_problem
        assert problem == f"Entry number {forged.pk} was not written by this server."
        tampering.remove(AuditEntry.objects.filter(pk=forged.pk))
        seal_audit()
        problem = AuditChain.objects.get(team=team).sealing_problem
        assert problem == f"Entry number {copied.pk} is a copy of another entry."

    def test_believes_what_was_stamped_by_the_key_before(
        self, team: Team, chain: list[AuditEntry], settings: Any
    ) -> None:
        written(team)
        before, settings.SECRET_KEY = settings.SECRET_KEY, "another one, long and random as well"
        assert seal_audit() == 0
        settings.SECRET_KEY_FALLBACKS = [before]
        assert seal_audit() == 1
        assert check(team) == (13, "")

    @pytest.mark.parametrize(
        ("columns", "problem"),
        [
            ({"sequence": 11}, "not put where it is"),
            ({"hash": "0" * 64}, "not put where it is"),
            ({"signature": "00" * 64}, "not put where it is"),
        ],
    )
    def test_stops_where_somebody_else_has_moved_the_head(
        self, team: Team, chain: list[AuditEntry], columns: dict[str, Any], problem: str
    ) -> None:
        AuditChain.objects.filter(team=team).update(**columns)
        written(team)
        assert seal_audit() == 0
        assert problem in AuditChain.objects.get(team=team).sealing_problem

    def test_stops_where_the_last_entry_is_gone(self, team: Team, chain: list[AuditEntry]) -> None:
        tampering.remove(AuditEntry.objects.filter(pk=chain[-1].pk))
        written(team)
        assert seal_audit() == 0
        found = AuditChain.objects.get(team=team)
        assert found.sealing_problem == "The chain does not end at entry 12, which its head names."

    def test_signs_at_most_one_seal_a_minute(self, team: Team, chain: list[AuditEntry]) -> None:
        assert [seal.sequence for seal in AuditSeal.objects.order_by("pk")] == [6, 12]
        AuditChain.objects.update(signed_at=timezone.now())
        written(team)
        seal_audit()
        assert AuditSeal.objects.count() == 2
        AuditChain.objects.update(signed_at=timezone.now() - timedelta(seconds=61))
        seal_audit()
        assert AuditSeal.objects.count() == 3
        AuditChain.objects.update(signed_at=None)
        seal_audit()
        assert AuditSeal.objects.count() == 3, "a head that has not moved was sealed again"

    def test_asks_little_where_nothing_is_new(
        self, chain: list[AuditEntry], django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(2):
            assert seal_audit() == 0


# SQLite lets one writer in at a time.
@pytest.mark.services("postgresql")
@pytest.mark.django_db(transaction=True)
def test_one_sealer_does_not_wait_for_another(team: Team, alice: User) -> None:
    tampering.chain_of(team, alice)
    written(team)
    found: list[int] = []

    def other() -> None:
        try:
            found.append(seal_batch(team.pk))
        finally:
            connection.close()

    with transaction.atomic():
        AuditChain.objects.select_for_update().get(team=team)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        assert found == [0]
    assert seal_batch(team.pk) == 1


class TestWhatTheOrmRefuses:
    @pytest.mark.parametrize(
        "change",
        [
            lambda one: AuditEntry.objects.filter(pk=one.pk).update(reason="another"),
            lambda one: AuditEntry.objects.filter(pk=one.pk).delete(),
            lambda one: AuditEntry.objects.bulk_update([one], ["reason"]),
            lambda one: AuditEntry.objects.update_or_create(
                pk=one.pk, defaults={"reason": "another"}
            ),
            lambda one: AuditEntry.objects.bulk_create(
                [one], update_conflicts=True, update_fields=["reason"], unique_fields=["id"]
            ),
            lambda one: one.team.audit_entries.update(reason="another"),
            lambda one: one.save(),
            lambda one: one.save(update_fields=["reason"]),
            lambda one: one.delete(),
        ],
    )
    def test_no_entry_is_changed_or_deleted(
        self, chain: list[AuditEntry], change: Callable[[AuditEntry], object]
    ) -> None:
        with pytest.raises(TypeError, match=r"Audit entries are|An audit entry is"):
            change(chain[2])
        assert check(chain[2].team) == (12, "")


class TestWhatTheDatabaseRefuses:
    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE persons_auditentry SET reason = 'another' WHERE sequence = 3",
            "UPDATE persons_auditentry SET actor_text = 'Bob' WHERE sequence = 3",
            "UPDATE persons_auditentry SET at = '2020-01-01' WHERE sequence = 3",
            "UPDATE persons_auditentry SET actor_id = NULL WHERE sequence = 3",
            "UPDATE persons_auditentry SET sequence = 99 WHERE sequence = 3",
            "UPDATE persons_auditentry SET sequence = NULL WHERE sequence = 3",
            "UPDATE persons_auditentry SET erased_at = '2026-01-01' WHERE sequence = 3",
            "UPDATE persons_auditentry SET erased_at = NULL WHERE sequence = 5",
            "UPDATE persons_auditentry SET reason = 'x', salt = 'x' WHERE sequence = 5",
            "DELETE FROM persons_auditentry WHERE sequence = 3",
            "DELETE FROM persons_auditentry",
            "UPDATE persons_auditseal SET hash = 'x'",
            "UPDATE persons_auditseal SET at = '2020-01-01'",
            "DELETE FROM persons_auditseal",
        ],
    )
    def test_no_entry_and_no_seal_is_changed_or_deleted(
        self, team: Team, chain: list[AuditEntry], sql: str
    ) -> None:
        tampering.erased(team, chain[4].pk)
        with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
            tampering.execute(sql)
        seal_audit()
        assert check(team) == (13, "")

    def test_no_table_is_emptied(self, team: Team, chain: list[AuditEntry]) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has no TRUNCATE")
        tampering.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("persons_auditentry", "persons_auditseal"):
            with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
                tampering.execute(f"TRUNCATE {table} CASCADE")
        assert check(team) == (12, "")

    def test_a_place_is_given_once_and_alone(self, team: Team, chain: list[AuditEntry]) -> None:
        (new,) = written(team)
        rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
        with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
            rows.filter(pk=new.pk).update(sequence=13, previous="x", hash="y", reason="another")
        rows.filter(pk=new.pk).update(sequence=13, previous="x", hash="y")

    def test_triggers_that_are_gone_are_missed(self, team: Team, chain: list[AuditEntry]) -> None:
        triggers.remove()
        assert check(team).problem.endswith("trigger audit_entry_kept is not there.")
        triggers.install()
        assert check(team) == (12, "")
        if connection.vendor == "postgresql":
            tampering.execute("SET CONSTRAINTS ALL IMMEDIATE")
            tampering.execute("ALTER TABLE persons_auditentry DISABLE TRIGGER audit_entry_stays")
            assert check(team).problem.endswith("trigger audit_entry_stays is not there.")
            tampering.execute("ALTER TABLE persons_auditentry ENABLE TRIGGER audit_entry_stays")


class TestErasing:
    def test_takes_what_an_entry_says_and_leaves_that_it_was(
        self, team: Team, chain: list[AuditEntry]
    ) -> None:
        (waiting,) = written(team)
        before = timezone.now()
        assert tampering.erased(team, chain[2].pk, chain[2].pk, waiting.pk) == 2
        one = AuditEntry.objects.get(pk=chain[2].pk)
        assert entries.payload_of(one) == verify.ERASED
        assert one.salt and one.salt != chain[2].salt
        assert (one.action, one.actor_text, one.digest) == (
            chain[2].action,
            "Alice",
            chain[2].digest,
        )
        assert one.erased_at is not None and one.erased_at >= before
        assert tampering.erased(team, chain[2].pk) == 0
        vouching = AuditEntry.objects.get(action="audit.redact")
        assert vouching.after["redacted"][0] == [
            chain[2].pk,
            3,
            chain[2].digest,
            verify.salted(one.salt, verify.ERASED),
        ]
        assert vouching.reason == "ABCD-EFGH"
        assert check(team).problem == ""
        assert seal_audit() == 2
        assert check(team) == (14, "")


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(100))
def test_a_history_that_nobody_altered_is_whole(seed: int, team: Team, alice: User) -> None:
    random = Random(seed)
    for _ in range(random.randint(1, 12)):
        match random.randint(0, 3):
            case 0:
                seal_audit()
                AuditChain.objects.update(signed_at=None)
            case 1:
                some = list(AuditEntry.objects.values_list("pk", flat=True))
                tampering.erased(team, *random.sample(some, min(2, len(some))))
            case _:
                tampering.random_entries(team, alice, random)
    waiting = AuditEntry.objects.filter(sequence=None).count()
    assert check(team).problem == ""
    assert seal_audit() == waiting
    assert check(team) == (AuditEntry.objects.count(), "")


def test_entries_from_before_the_chain_get_their_place(team: Team, alice: User) -> None:
    migration = import_module("persons.migrations.0003_chain")
    written(team, alice, 5)
    written(None, None, 2)
    with tampering.by_hand():
        tampering.execute("UPDATE persons_auditentry SET salt = '', digest = '', stamp = ''")
    with patch.object(migration, "BATCH", 2):
        migration.mark_entries(apps, SimpleNamespace(connection=connection))
    migration.begin_chains(apps, None)
    triggers.install()  # As after every migration.
    assert seal_audit() == 8
    assert check(team) == (6, "") and check(None) == (2, "")
    begun = AuditEntry.objects.get(action="audit.begin")
    assert begun.after == {"calls_before": 0} and begun.sequence == 6


class TestKeys:
    @pytest.mark.parametrize(
        "secret",
        ["ab" * 32, "ab" * 40, "ab" * 16, "a random text, quite long and so unguessed"],
    )
    def test_a_key_signs_and_is_believed(self, settings: Any, secret: str) -> None:
        settings.AUDIT_KEY = Secret(secret)
        key, signature = signing.sign({"a": 1})
        assert key == signing.fingerprint()
        assert signing.verify({"a": 1.0}, key, signature)
        assert not signing.verify({"a": 2}, key, signature)
        assert not signing.verify({"a": 1}, key, signature[:-2] + "00")
        assert not signing.verify({"a": 1}, key, "no hexadecimal")

    def test_a_key_may_come_in_pem(self, settings: Any) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        settings.AUDIT_KEY = Secret(pem.decode())
        key, signature = signing.sign({"a": 1})
        assert signing.verify({"a": 1}, key, signature)
        assert key == signing.fingerprint_of(private.public_key().public_bytes_raw())

    def test_a_key_that_signed_before_is_believed_where_it_is_listed(
        self, team: Team, chain: list[AuditEntry], settings: Any
    ) -> None:
        old = signing.public_keys()[signing.fingerprint()].hex()
        settings.AUDIT_KEY = Secret("cd" * 32)
        found = check(team)
        assert found.sequence == 5 and "a key that is not this server's" in found.problem
        settings.AUDIT_PUBLIC_KEYS = [old]
        assert check(team) == (12, "")
        written(team)
        seal_audit()
        assert check(team) == (13, "")

    @pytest.mark.parametrize("secret", ["short", "-----BEGIN PRIVATE KEY-----\nno\n"])
    def test_what_is_no_key_is_said_without_repeating_it(self, settings: Any, secret: str) -> None:
        settings.AUDIT_KEY = Secret(secret)
        with pytest.raises(Exception, match="ROLLCALL_AUDIT_KEY must be") as raised:
            signing.fingerprint()
        assert secret not in str(raised.value)


class BucketGone(Exception):
    pass


class Bucket:
    """What is used of boto3's client, over a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.is_gone = False

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:  # noqa: N803
        self._demand(Bucket)
        self.objects[Key] = Body

    def get_paginator(self, name: str) -> Bucket:
        assert name == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803
        self._demand(Bucket)
        keys = sorted(key for key in self.objects if key.startswith(Prefix))
        return [{"Contents": [{"Key": key}]} for key in keys] + [{}]

    def _demand(self, name: str) -> None:
        assert name == "evidence"
        if self.is_gone:
            raise BucketGone("no such bucket")


class TestCopies:
    def test_every_seal_is_written_outside_once(
        self, team: Team, alice: User, settings: Any, tmp_path: Path
    ) -> None:
        settings.AUDIT_SEALS = str(tmp_path / "elsewhere")
        tampering.chain_of(team, alice)
        seal_audit()
        lines = (tmp_path / "elsewhere" / "trip.jsonl").read_text().splitlines()
        assert lines == [
            seals.line_of(seal, "trip") for seal in AuditSeal.objects.order_by("sequence")
        ]
        assert not AuditSeal.objects.filter(copied_at=None).exists()

    def test_a_bucket_gets_an_object_for_each_seal_and_shows_what_was_cut_off(
        self, team: Team, alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """boto3 is an extra: what it is asked for is looked at here, by a stand-in for it."""
        bucket = Bucket()
        monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(client=lambda name: bucket))
        errors = SimpleNamespace(BotoCoreError=BucketGone, ClientError=BucketGone)
        monkeypatch.setitem(sys.modules, "botocore.exceptions", errors)
        settings.AUDIT_SEALS = "s3://evidence/rollcall/seals/"
        chain = tampering.chain_of(team, alice)
        first, last = AuditSeal.objects.order_by("sequence")
        assert bucket.objects == {
            f"rollcall/seals/trip/{seal.sequence:020d}-{seal.hash}.json": (
                f"{seals.line_of(seal, 'trip')}\n".encode()
            )
            for seal in (first, last)
        }
        assert check(team) == (12, "")
        bucket.objects[f"rollcall/seals/trip/{15:020d}-{'0' * 64}.json"] = b""
        assert "it is missing: the seal kept outside names entry 15" in check(team).problem
        bucket.is_gone = True
        assert "the seals that are kept outside can't be read" in check(team).problem
        written(team)
        seal_audit()
        AuditChain.objects.update(signed_at=None)
        seal_audit()
        assert "no such bucket" in AuditChain.objects.get(team=team).copy_problem
        assert len(chain) == 12

    def test_without_boto3_a_bucket_is_a_problem_that_says_what_to_install(
        self, team: Team, alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "boto3", None)
        settings.AUDIT_SEALS = "s3://evidence"
        tampering.chain_of(team, alice)
        assert "boto3 is not installed" in AuditChain.objects.get(team=team).copy_problem

    def test_what_fails_is_said_and_tried_again(
        self, team: Team, alice: User, settings: Any, tmp_path: Path
    ) -> None:
        place = tmp_path / "elsewhere"
        place.write_text("a file, not a folder")
        settings.AUDIT_SEALS = str(place)
        tampering.chain_of(team, alice)
        found = AuditChain.objects.get(team=team)
        assert str(place) in found.copy_problem
        assert AuditSeal.objects.filter(copied_at=None).count() == 2
        place.unlink()
        seal_audit()
        found.refresh_from_db()
        assert found.copy_problem == ""
        assert len((place / "trip.jsonl").read_text().splitlines()) == 2
