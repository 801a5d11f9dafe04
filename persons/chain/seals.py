"""Seals: signed checkpoints of a chain, and their copies outside this server.

A copy is one line of JSON, either in a folder (one append-only file per team) or in a bucket (one
object per seal). Copies that an attacker can't reach reveal a truncated chain.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from persons.chain import signing
from persons.chain.entries import moment
from persons.chain.verify import VERSION
from persons.inputs.params import whole
from persons.models import AuditChain, AuditSeal

INSTALLATION = "installation"
"""Names the chain without a team where a name is needed. No slug has an underscore at its start."""


class NotCopied(Exception):
    """Outside seals could not be written or read. The message says why; try again later."""


def statement(team: str, sequence: int, digest: str, at: datetime) -> dict[str, Any]:
    """The payload that is signed."""
    return {
        "version": VERSION,
        "team": team,
        "sequence": sequence,
        "hash": digest,
        "at": moment(at),
    }


def statement_of(seal: AuditSeal, team: str) -> dict[str, Any]:
    return statement(team, seal.sequence, seal.hash, seal.at)


def line_of(seal: AuditSeal, team: str) -> str:
    line = {**statement_of(seal, team), "key": seal.key, "signature": seal.signature}
    return json.dumps(line, sort_keys=True, separators=(",", ":"))


def seal_of(chain: AuditChain) -> AuditSeal:
    """The chain's head as a seal, which is not stored."""
    assert chain.sealed_at is not None
    return AuditSeal(
        team_id=chain.team_id,
        sequence=chain.sequence,
        hash=chain.hash,
        at=chain.sealed_at,
        key=chain.key,
        signature=chain.signature,
    )


def sign_head(chain: AuditChain, team: str) -> None:
    """Sign a head whose other columns are set."""
    assert chain.sealed_at is not None
    signed = statement(team, chain.sequence, chain.hash, chain.sealed_at)
    chain.key, chain.signature = signing.sign(signed)


def is_signed(chain: AuditChain, team: str) -> bool:
    """Whether the head is signed by a trusted key. A chain without entries needs no signature."""
    if chain.sealed_at is None:
        return chain.sequence == 0 and chain.hash == ""
    signed = statement(team, chain.sequence, chain.hash, chain.sealed_at)
    return signing.verify(signed, chain.key, chain.signature)


# --- Outside ---


def are_copied() -> bool:
    return bool(settings.AUDIT_SEALS)


def copy(seal: AuditSeal, team: str) -> None:
    """Write a seal outside. Writing it twice does no harm. Raises NotCopied."""
    line = line_of(seal, team) + "\n"
    try:
        if settings.AUDIT_SEALS.startswith("s3://"):
            _Bucket().put(f"{_name(team)}/{_object(seal.sequence, seal.hash)}", line)
        else:
            _append(Path(settings.AUDIT_SEALS) / f"{_name(team)}.jsonl", line)
    except OSError as error:
        raise NotCopied(f"{settings.AUDIT_SEALS}: {error.strerror or error}") from error


def copies(team: str) -> Iterator[dict[str, Any]]:
    """The outside seals in the order they were written. Raises NotCopied.

    Seals in a bucket have only sequence and hash, which come from the object names: opening each
    object would take hours. A line that isn't a seal yields {}.
    """
    if settings.AUDIT_SEALS.startswith("s3://"):
        for name in _Bucket().names(f"{_name(team)}/"):
            sequence, _, rest = name.partition("-")
            number = whole(sequence)
            yield {"sequence": number, "hash": rest.partition(".")[0]} if number else {}
        return
    for line in _lines(Path(settings.AUDIT_SEALS) / f"{_name(team)}.jsonl"):
        try:
            found = json.loads(line)
        except ValueError:
            found = {}
        yield found if isinstance(found, dict) else {}


def _object(sequence: int, digest: str) -> str:
    return f"{sequence:020d}-{digest}.json"


def _name(team: str) -> str:
    return team or f"_{INSTALLATION}"


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as error:
        raise NotCopied(f"{path}: {error.strerror or error}") from error


class _Bucket:
    """S3 client. boto3 is the optional extra "s3". Its errors are raised as NotCopied."""

    def __init__(self) -> None:
        try:
            import boto3  # Only where seals go to a bucket.
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise NotCopied(
                "ROLLCALL_AUDIT_SEALS names a bucket, but boto3 is not installed: "
                "pip install 'rollcall[s3]'."
            ) from None
        self._errors = (BotoCoreError, ClientError)
        self._bucket, _, prefix = settings.AUDIT_SEALS.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = boto3.client("s3")

    def put(self, key: str, line: str) -> None:
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=line.encode())
        except self._errors as error:
            raise NotCopied(f"{settings.AUDIT_SEALS}: {error}") from error

    def names(self, folder: str) -> Iterator[str]:
        """The objects under a prefix, by name."""
        start = self._prefix + folder
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=start
            )
            for page in pages:
                for one in page.get("Contents", ()):
                    yield str(one["Key"]).removeprefix(start)
        except self._errors as error:
            raise NotCopied(f"{settings.AUDIT_SEALS}: {error}") from error
