"""The schemes of each suite: how keys are made from seeds and bytes. The only door to `cryptography` in this package.

RFC 8032 (Ed25519), RFC 7748 (X25519), FIPS 203 (ML-KEM-768), FIPS 186-5 (ECDSA over P-256), RFC 9180 (HPKE). What a
suite is: suites.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, utils, x25519
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

# What an operation raises when a signature, a blob or a key is not right.
WRONG = (InvalidSignature, InvalidTag, ValueError)

_CURVE = ec.SECP256R1()
_SCALAR = 32
_ECDSA = ec.ECDSA(hashes.SHA256())


# A seed where its keeper has it, or a copy that Python holds.
Seed = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Signature:
    """How one signature scheme makes keys from seeds and bytes; sizes in bytes, without the suite byte."""

    seed: int
    public: int
    size: int
    draw: Callable[[], bytes]
    from_seed: Callable[[Seed], Any]
    public_of: Callable[[Any], bytes]
    from_public: Callable[[bytes], Any]
    sign: Callable[[Any, bytes], bytes]
    verify: Callable[[Any, bytes, bytes], None]


@dataclass(frozen=True, slots=True)
class Kem:
    """How one HPKE suite makes keys from seeds and bytes; `overhead` is what a blob is longer than its plaintext."""

    hpke: Suite
    seed: int
    public: int
    overhead: int
    draw: Callable[[], bytes]
    from_seed: Callable[[Seed], Any]
    public_of: Callable[[Seed, Any], bytes]
    from_public: Callable[[bytes], Any]


def _p256_draw() -> bytes:
    return ec.generate_private_key(_CURVE).private_numbers().private_value.to_bytes(_SCALAR, "big")


def _p256_from_seed(seed: Seed) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(seed, "big"), _CURVE)


def _p256_public_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _p256_from_public(raw: bytes) -> ec.EllipticCurvePublicKey:
    # One key has one form: the compressed point is refused by its length.
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, raw)


def _p256_sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(data, _ECDSA))
    return r.to_bytes(_SCALAR, "big") + s.to_bytes(_SCALAR, "big")


def _p256_verify(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    r, s = (int.from_bytes(half, "big") for half in (signature[:_SCALAR], signature[_SCALAR:]))
    key.verify(utils.encode_dss_signature(r, s), data, _ECDSA)


_MLKEM_SEED, _MLKEM_PUBLIC, _X_SIZE = 64, 1184, 32


def _random(size: int) -> Callable[[], bytes]:
    """Any bytes are a seed: RFC 8032 5.1.5, RFC 7748 5, FIPS 203 7.1 (d || z)."""
    return lambda: os.urandom(size)


def _hybrid_from_seed(seed: Seed) -> MLKEM768X25519PrivateKey:
    return MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED]),
        x25519.X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:]),
    )


def _hybrid_public_of(seed: Seed, _key: Any) -> bytes:
    # The hybrid objects cannot be exported: both halves come from the seed again.
    first = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED]).public_key().public_bytes_raw()
    return first + x25519.X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:]).public_key().public_bytes_raw()


def _hybrid_from_public(raw: bytes) -> MLKEM768X25519PublicKey:
    return MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC]),
        x25519.X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]),
    )


_ED25519 = Signature(
    seed=32,
    public=32,
    size=64,
    draw=_random(32),
    from_seed=ed25519.Ed25519PrivateKey.from_private_bytes,
    public_of=lambda key: key.public_key().public_bytes_raw(),
    from_public=ed25519.Ed25519PublicKey.from_public_bytes,
    sign=lambda key, data: key.sign(data),
    verify=lambda key, signature, data: key.verify(signature, data),
)
_P256_SIGN = Signature(
    seed=_SCALAR,
    public=65,
    size=64,
    draw=_p256_draw,
    from_seed=_p256_from_seed,
    public_of=_p256_public_of,
    from_public=_p256_from_public,
    sign=_p256_sign,
    verify=_p256_verify,
)
_X25519 = Kem(
    hpke=Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    seed=_X_SIZE,
    public=_X_SIZE,
    overhead=32 + 16,
    draw=_random(_X_SIZE),
    from_seed=x25519.X25519PrivateKey.from_private_bytes,
    public_of=lambda _seed, key: key.public_key().public_bytes_raw(),
    from_public=x25519.X25519PublicKey.from_public_bytes,
)
_HYBRID = Kem(
    hpke=Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    seed=_MLKEM_SEED + _X_SIZE,
    public=_MLKEM_PUBLIC + _X_SIZE,
    overhead=1120 + 16,
    draw=_random(_MLKEM_SEED + _X_SIZE),
    from_seed=_hybrid_from_seed,
    public_of=_hybrid_public_of,
    from_public=_hybrid_from_public,
)
_P256_SEAL = Kem(
    hpke=Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    seed=_SCALAR,
    public=65,
    overhead=65 + 16,
    draw=_p256_draw,
    from_seed=_p256_from_seed,
    public_of=lambda _seed, key: _p256_public_of(key),
    from_public=_p256_from_public,
)

# The table. A suite without a row cannot be spoken; a card whose keys live in a token adds one.
SUITES: dict[int, tuple[Signature, Kem]] = {
    1: (_ED25519, _X25519),
    2: (_ED25519, _HYBRID),
    3: (_P256_SIGN, _P256_SEAL),
}
