"""The circuits of the cloud, stored as one row per upstream and shared by all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from persons.db.tables import Table, places, rows
from persons.models import CloudCircuit
from persons.vision.guards import Circuit, Phase

CIRCUITS = Table(CloudCircuit)


class DatabaseBreaker:
    """`persons.vision.guards.BreakerState` with one row per upstream, swapped by revision."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream

    def read(self) -> Circuit:
        (circuit,) = read(self._upstream)
        return circuit

    def swap(self, old: Circuit, new: Circuit) -> bool:
        CloudCircuit.objects.bulk_create(
            [CloudCircuit(upstream=self._upstream)], ignore_conflicts=True
        )
        return bool(
            CloudCircuit.objects.filter(upstream=self._upstream, revision=old.revision).update(
                **asdict(new)
            )
        )


def read(*upstreams: str) -> list[Circuit]:
    """The circuits of these upstreams, in their order, by one query."""
    found = circuits(upstreams)
    return [_circuit(found[name]) if name in found else Circuit() for name in upstreams]


def _circuit(row: CloudCircuit) -> Circuit:
    return Circuit(
        phase=Phase(row.phase),
        failures=row.failures,
        opened=row.opened,
        until=row.until,
        generation=row.generation,
        revision=row.revision,
    )


def circuits(upstreams: Sequence[str]) -> dict[str, CloudCircuit]:
    """The stored rows of these upstreams, by name."""
    sql = (
        f"SELECT {CIRCUITS.columns('c')} FROM {CIRCUITS.name} c "
        f"WHERE c.upstream IN ({places(upstreams)})"
    )
    return {row.upstream: row for row in map(CIRCUITS.load, rows((sql, upstreams)))}
