"""The embedded recogniser: its model files, one engine per team, and the database store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import F

from persons.engine.engine import Accepts, Engine
from persons.engine.store import (
    DIGESTS,
    LEARNED,
    NewEmbedding,
    SpaceMoved,
    SpaceVectors,
    Vectors,
)
from persons.engine.weights import Weights
from persons.images import MAX_PIXELS, MAX_SIDE
from persons.models import EngineEmbedding, EngineSpace, Space
from persons.vision import limits

DIMENSIONS = 128
WIRE = np.dtype("<f4")


def check_weights() -> None:
    """Raises WeightsError if the recogniser's model files are missing or have other contents."""
    weights().check()


@lru_cache(maxsize=64)
def engine_of(team_pk: int) -> Engine:
    """The team's engine, which caches its indexes. All engines share the models."""
    return Engine(
        DatabaseStore(team_pk),
        weights=weights(),
        # Whatever may be uploaded: the API's limits are the cloud's.
        accepts=Accepts(MAX_SIDE, MAX_SIDE, MAX_PIXELS, upload_sizes()),
        threads=settings.ENGINE_THREADS,
    )


def upload_sizes() -> limits.Sizes:
    """Size limits for clients' pictures that are not passed on unchanged."""
    most = settings.UPLOAD_MAX_BYTES
    return limits.Sizes(max(most, limits.MAX_IMAGE_BYTES), max(most, limits.MAX_REQUEST_BYTES))


def weights() -> Weights:
    """The embedded recogniser's model files. Raises WeightsError if they are missing."""
    default = Weights.default()
    if not (settings.ENGINE_DETECTOR or settings.ENGINE_EMBEDDER):
        return default
    return Weights.from_files(
        Path(settings.ENGINE_DETECTOR or default.detector.path),
        Path(settings.ENGINE_EMBEDDER or default.recogniser.path),
    )


class DatabaseStore:
    """`persons.engine.store.Store` for one team, in rows that all processes share.

    Each write locks the space's row first, so that a version identifies the exact contents.
    """

    def __init__(self, team_pk: int) -> None:
        self._team = team_pk

    def version(self, space: int) -> int:
        found = EngineSpace.objects.filter(team=self._team, number=space).values_list("version")
        return next((version for (version,) in found), 0)

    @transaction.atomic
    def load(self, space: int) -> SpaceVectors:
        # The lock keeps rows and version consistent on every database.
        row = self._locked(space)
        rows = list(
            EngineEmbedding.objects.filter(space=row)
            .order_by("person_id", "pk")
            .values_list("person_id", "vector", "digest")
        )
        joined = b"".join(bytes(vector) for _, vector, _ in rows)
        return SpaceVectors(
            row.version,
            np.array([i for i, _, _ in rows], np.int64),
            np.frombuffer(joined, WIRE).astype(np.float32).reshape(-1, DIMENSIONS),
            np.array([digest for _, _, digest in rows], DIGESTS),
        )

    @transaction.atomic
    def add(self, space: int, embeddings: Sequence[NewEmbedding], *, capacity: int) -> list[bool]:
        row = self._locked(space)
        known = set(
            EngineEmbedding.objects.filter(
                space=row, person_id__in={new.person_id for new in embeddings}
            ).values_list("person_id", "digest")
        )
        count = self._count(row)
        fresh: list[EngineEmbedding] = []
        done: list[bool] = []
        for new in embeddings:
            key = (new.person_id, new.digest)
            if key not in known and count + len(fresh) < capacity:
                fresh.append(self._row(row, new.person_id, new.vector, new.digest))
                known.add(key)
            done.append(key in known)
        if fresh:
            EngineEmbedding.objects.bulk_create(fresh)
            ledger = Space.objects.filter(team=self._team, number=space)
            ledger.go_on_after(embedding.person_id for embedding in fresh)
            self._moved(row)
        return done

    @transaction.atomic
    def create(
        self, space: int, vector: Vectors, digest: str, *, if_version: int, capacity: int
    ) -> int | None:
        row = self._locked(space)
        if row.version != if_version:
            raise SpaceMoved
        if self._count(row) >= capacity:
            return None
        # The ledger allocates ids, so that people created here and on pages never share one.
        ledger = Space.objects.filter(team=self._team, number=space)
        ledger.update(next_person_id=F("next_person_id") + 1)
        person_id = ledger.values_list("next_person_id", flat=True).get() - 1
        self._row(row, person_id, vector, digest).save(force_insert=True)
        self._moved(row)
        return person_id

    @transaction.atomic
    def learn(self, space: int, person_id: int, vector: Vectors) -> bool:
        row = self._locked(space)
        people = EngineEmbedding.objects.filter(space=row, person_id=person_id)
        if not people.exists():
            return False
        learned = people.filter(learned=True).first()
        if learned is None:
            learned = self._row(row, person_id, vector, LEARNED)
            learned.learned = True
        else:
            old = np.frombuffer(bytes(learned.vector), WIRE)
            mean = old * learned.weight + vector
            learned.vector = _bytes(mean / max(float(np.linalg.norm(mean)), 1e-9))
            learned.weight += 1
        learned.save()
        self._moved(row)
        return True

    @transaction.atomic
    def remove(self, space: int, person_ids: Sequence[int]) -> list[bool]:
        row = self._locked(space)
        there = EngineEmbedding.objects.filter(space=row, person_id__in=person_ids)
        present = set(there.values_list("person_id", flat=True))
        if present:
            there.delete()
            self._moved(row)
        return [
            person_id in present and person_id not in person_ids[:position]
            for position, person_id in enumerate(person_ids)
        ]

    @transaction.atomic
    def clear(self, space: int) -> None:
        row = self._locked(space)
        EngineEmbedding.objects.filter(space=row).delete()
        self._moved(row)

    def _locked(self, space: int) -> EngineSpace:
        row, _ = EngineSpace.objects.get_or_create(team_id=self._team, number=space)
        return EngineSpace.objects.select_for_update(no_key=True).get(pk=row.pk)

    @staticmethod
    def _count(row: EngineSpace) -> int:
        return EngineEmbedding.objects.filter(space=row, learned=False).count()

    @staticmethod
    def _moved(row: EngineSpace) -> None:
        EngineSpace.objects.filter(pk=row.pk).update(version=F("version") + 1)

    @staticmethod
    def _row(row: EngineSpace, person_id: int, vector: Vectors, digest: str) -> EngineEmbedding:
        return EngineEmbedding(space=row, person_id=person_id, digest=digest, vector=_bytes(vector))


def _bytes(vector: Vectors) -> bytes:
    return np.asarray(vector, WIRE).tobytes()
