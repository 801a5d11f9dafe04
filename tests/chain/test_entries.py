"""Parts of the chain by themselves: addresses, a cut-off end, an unsigned head, one entry."""

from __future__ import annotations

import pytest

from persons.chain import entries, seals, verify
from persons.models import AuditChain, AuditEntry, Team, User
from tests.support import tampering


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (None, ""),
        ("", ""),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:0db8:0000:0000:0000:0000:0000:0007"),
    ],
)
def test_an_address_is_hashed_in_one_form(address: str | None, told: str) -> None:
    assert verify.address_of(address) == told


@pytest.mark.parametrize("last", [1, 2])
def test_the_first_entry_that_is_missing_at_the_end_is_named(last: int) -> None:
    chain = verify.Chain("trip")
    chain.sequence = last
    with pytest.raises(verify.Broken, match="the chain has 5 entries") as caught:
        chain.end(sequence=5)
    assert caught.value.sequence == last + 1


@pytest.mark.parametrize(
    ("sequence", "digest", "is_signed"), [(0, "", True), (5, "", False), (0, "ab", False)]
)
def test_a_head_without_a_signature_is_that_of_an_empty_chain(
    sequence: int, digest: str, is_signed: bool
) -> None:
    assert seals.is_signed(AuditChain(sequence=sequence, hash=digest), "trip") is is_signed


@pytest.mark.django_db
@pytest.mark.parametrize("column", ["stamp", "salt"])
def test_an_erased_entry_is_vouched_for_only_by_an_entry_that_is_sound(
    team: Team, alice: User, column: str
) -> None:
    (entry,) = tampering.written(team, alice)
    assert entries.is_vouched(entry, team.slug)
    tampering.erased(team, entry.pk)
    entry.refresh_from_db()
    assert entries.is_vouched(entry, team.slug)
    redaction = AuditEntry.objects.get(action=verify.REDACT)
    tampering.rewrite(redaction, **{column: "0" * len(getattr(redaction, column))})
    assert not entries.is_vouched(entry, team.slug)
