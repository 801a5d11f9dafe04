"""The chain that shows the audit unaltered: whoever changes it is found out, and where."""

from __future__ import annotations

import pytest

from persons import audit
from persons.audit import Actor
from persons.chain.checking import check
from persons.models import AuditChain, AuditEntry, Source, Team, User
from persons.pipeline.sealing import seal_audit


def write(team: Team | None, user: User | None = None, count: int = 1) -> list[AuditEntry]:
    actor = Actor(user=user, source=Source.PAGE, address="2001:db8::7", request_id="r" * 32)
    return [
        audit.record(
            actor=actor,
            team=team,
            action="gallery.rename",
            target=team,
            before={"name": f"Trip {number}", "size": 1.0, "share": 1e22, "box": (1, 2)},
            after={"name": "Größe", "deep": {"b": [None, True, 0.1], "a": -0.0}},
            reason="Because",
        )
        for number in range(count)
    ]


@pytest.fixture
def chain(team: Team, alice: User) -> list[AuditEntry]:
    """Twelve sealed entries, with a seal after the sixth and one after the last."""
    for _ in range(2):
        write(team, alice, 6)
        seal_audit()
        AuditChain.objects.update(signed_at=None)
    return list(AuditEntry.objects.filter(team=team).order_by("sequence"))


class TestSealing:
    def test_gives_every_entry_its_place(self, team: Team, chain: list[AuditEntry]) -> None:
        assert [entry.sequence for entry in chain] == list(range(1, 13))
        assert [entry.previous for entry in chain[1:]] == [entry.hash for entry in chain[:-1]]
        head = AuditChain.objects.get(team=team)
        assert (head.sequence, head.hash) == (12, chain[-1].hash)
        assert check(team) == (12, "")
