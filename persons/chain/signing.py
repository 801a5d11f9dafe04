"""The audit's Ed25519 key, which signs seals and certificates.

A key's fingerprint is the SHA-256 of its public key. Signatures of earlier keys are trusted if
ROLLCALL_AUDIT_PUBLIC_KEYS lists their public keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from persons.chain.verify import canonical

SEED_BYTES = 32


def sign(payload: Mapping[str, Any]) -> tuple[str, str]:
    """Sign the payload's canonical JSON. Returns (key fingerprint, hexadecimal signature)."""
    private, public = _key(settings.AUDIT_KEY.reveal())
    return fingerprint_of(public), private.sign(canonical(dict(payload))).hex()


def verify(payload: Mapping[str, Any], key: str, signature: str) -> bool:
    """Whether the trusted key with this fingerprint signed exactly this payload."""
    public = public_keys().get(key)
    if public is None:
        return False
    try:
        raw = bytes.fromhex(signature)
        Ed25519PublicKey.from_public_bytes(public).verify(raw, canonical(dict(payload)))
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint() -> str:
    """Fingerprint of the current signing key."""
    return fingerprint_of(_key(settings.AUDIT_KEY.reveal())[1])


def public_keys() -> dict[str, bytes]:
    """All trusted public keys by fingerprint, the current signing key first."""
    ours = _key(settings.AUDIT_KEY.reveal())[1]
    return {fingerprint_of(one): one for one in (ours, *_listed(tuple(settings.AUDIT_PUBLIC_KEYS)))}


def fingerprint_of(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()


@lru_cache(maxsize=4)
def _key(secret: str) -> tuple[Ed25519PrivateKey, bytes]:
    """Read a key from a PEM file or 64 hexadecimal digits, or derive it from a long random text."""
    try:
        private = _private(secret.strip())
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise ImproperlyConfigured(
            "ROLLCALL_AUDIT_KEY must be an Ed25519 key in PEM, 64 hexadecimal digits, or a random "
            "text of at least 32 characters."
        ) from None
    return private, private.public_key().public_bytes_raw()


def _private(secret: str) -> Ed25519PrivateKey:
    if secret.startswith("-----BEGIN"):
        key = load_pem_private_key(secret.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("no Ed25519 key")
        return key
    if len(secret) < SEED_BYTES:
        raise ValueError("too short to be random")
    try:
        seed = bytes.fromhex(secret)
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        seed = hashlib.sha256(b"rollcall: the audit's key\0" + secret.encode()).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


@lru_cache(maxsize=4)
def _listed(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    try:
        found = tuple(bytes.fromhex(key) for key in keys)
    except ValueError:
        found = (b"",)
    if any(len(key) != SEED_BYTES for key in found):
        raise ImproperlyConfigured(
            "ROLLCALL_AUDIT_PUBLIC_KEYS must be public keys of 64 hexadecimal digits, between "
            "commas."
        )
    return found
