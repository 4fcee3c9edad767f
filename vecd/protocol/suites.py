"""Suites: which signature, which HPKE, how keys look as bytes. The only door to `cryptography` in this package.

RFC 9180 (HPKE, base mode, single shot). The KEM of suite 2 is MLKEM768-X25519, 0x647a (draft-ietf-hpke-pq; X-Wing,
draft-connolly-cfrg-xwing-kem); its public key is the ML-KEM-768 key followed by the X25519 key. docs/protocol.md,
"Suites".
There is no negotiation: the first byte of a key is its suite, and the certificate decides.

A party's private keys have two forms. `PrivateKeys` holds them in this process's memory for good: users, the broker,
the authority. `LentKeys` holds no secret: whoever keeps the seeds (a card's key arena) lends them for one operation,
and the key objects live as long as that.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

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

from vecd.base.errors import Integrity, Malformed, VecError
from vecd.base.secret import wipe

PREFIX = b"vEC-PPM/v1/"
DEFAULT_SUITE = 2

_CURVE = ec.SECP256R1()
_SCALAR = 32
_ECDSA = ec.ECDSA(hashes.SHA256())


# A seed where its keeper has it, or a copy that Python holds.
Seed = bytes | memoryview


@dataclass(frozen=True, slots=True)
class _Signature:
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
class _Kem:
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


_ED25519 = _Signature(
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
_P256_SIGN = _Signature(
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
_X25519 = _Kem(
    hpke=Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    seed=_X_SIZE,
    public=_X_SIZE,
    overhead=32 + 16,
    draw=_random(_X_SIZE),
    from_seed=x25519.X25519PrivateKey.from_private_bytes,
    public_of=lambda _seed, key: key.public_key().public_bytes_raw(),
    from_public=x25519.X25519PublicKey.from_public_bytes,
)
_HYBRID = _Kem(
    hpke=Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    seed=_MLKEM_SEED + _X_SIZE,
    public=_MLKEM_PUBLIC + _X_SIZE,
    overhead=1120 + 16,
    draw=_random(_MLKEM_SEED + _X_SIZE),
    from_seed=_hybrid_from_seed,
    public_of=_hybrid_public_of,
    from_public=_hybrid_from_public,
)
_P256_SEAL = _Kem(
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
SUITES: dict[int, tuple[_Signature, _Kem]] = {
    1: (_ED25519, _X25519),
    2: (_ED25519, _HYBRID),
    3: (_P256_SIGN, _P256_SEAL),
}


def suite_of(key: bytes) -> int:
    """The suite byte of a key or a sealed blob. Raises Malformed for one that has no row."""
    if not key or key[0] not in SUITES:
        raise Malformed("a key or blob of an unknown suite", reason=f"suites are {', '.join(map(str, SUITES))}")
    return key[0]


class Keys(Protocol):
    """What the protocol needs of a party's two key pairs: the public halves, and the private ones for an operation."""

    @property
    def suite(self) -> int: ...

    @property
    def sign_key(self) -> bytes:
        """pkS."""

    @property
    def seal_key(self) -> bytes:
        """pkE."""

    def to_sign(self) -> AbstractContextManager[Any]:
        """The signature key of `cryptography`, valid in the block."""

    def to_open(self) -> AbstractContextManager[Any]:
        """The key for HPKE, valid in the block."""


@dataclass(frozen=True, slots=True)
class PrivateKeys:
    """The two key pairs of a party, kept. `sign_seed` and `seal_seed` start with the suite byte; never printed."""

    sign_seed: bytes = field(repr=False)
    seal_seed: bytes = field(repr=False)
    sign_key: bytes = field(init=False)  # pkS
    seal_key: bytes = field(init=False)  # pkE
    _sign: Any = field(init=False, repr=False, compare=False)
    _seal: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        suite = suite_of(self.sign_seed)
        if suite_of(self.seal_seed) != suite:
            raise Malformed("the two keys of a party are of different suites")
        sign = _signer(suite, self.sign_seed[1:])
        seal = _opener(suite, self.seal_seed[1:])
        for name, value in (
            ("sign_key", bytes([suite]) + SUITES[suite][0].public_of(sign)),
            ("seal_key", bytes([suite]) + SUITES[suite][1].public_of(self.seal_seed[1:], seal)),
            ("_sign", sign),
            ("_seal", seal),
        ):
            object.__setattr__(self, name, value)

    @property
    def suite(self) -> int:
        return self.sign_seed[0]

    def to_sign(self) -> AbstractContextManager[Any]:
        return nullcontext(self._sign)

    def to_open(self) -> AbstractContextManager[Any]:
        return nullcontext(self._seal)


class SeedSource(Protocol):
    """Who keeps a party's seeds: suite byte, signature seed, seed of the HPKE key, one behind the other."""

    def seed(self) -> AbstractContextManager[memoryview]:
        """The seeds where they are kept; the view is released when the block ends."""


@dataclass(frozen=True, slots=True)
class LentKeys:
    """The two key pairs of a party whose seeds somebody else keeps: borrowed for one operation, then forgotten."""

    source: SeedSource = field(repr=False, compare=False)
    sign_key: bytes = field(init=False)  # pkS
    seal_key: bytes = field(init=False)  # pkE

    def __post_init__(self) -> None:
        with self.source.seed() as view:
            suite = suite_of(bytes(view[:1]))
            scheme, kem = SUITES[suite]
            if len(view) != 1 + scheme.seed + kem.seed:
                raise Malformed(f"the seeds of suite {suite} have not their length")
            with view[1 : 1 + scheme.seed] as seed:
                sign_key = scheme.public_of(_signer(suite, seed))
            with view[1 + scheme.seed :] as seed:
                seal_key = kem.public_of(seed, _opener(suite, seed))
        object.__setattr__(self, "sign_key", bytes([suite]) + sign_key)
        object.__setattr__(self, "seal_key", bytes([suite]) + seal_key)

    @property
    def suite(self) -> int:
        return self.sign_key[0]

    @contextmanager
    def to_sign(self) -> Iterator[Any]:
        with self.source.seed() as view, view[1 : 1 + SUITES[self.suite][0].seed] as seed:
            yield _signer(self.suite, seed)

    @contextmanager
    def to_open(self) -> Iterator[Any]:
        with self.source.seed() as view, view[1 + SUITES[self.suite][0].seed :] as seed:
            yield _opener(self.suite, seed)


def _signer(suite: int, seed: Seed) -> Any:
    return _key(suite, SUITES[suite][0], seed)


def _opener(suite: int, seed: Seed) -> Any:
    return _key(suite, SUITES[suite][1], seed)


def _key(suite: int, part: _Signature | _Kem, seed: Seed) -> Any:
    if len(seed) != part.seed:
        raise Malformed(f"a seed of suite {suite} has not its length")
    try:
        return part.from_seed(seed)
    except ValueError as e:
        raise Malformed(f"a seed of suite {suite} is no key", reason=str(e)) from None


def generate(suite: int = DEFAULT_SUITE) -> PrivateKeys:
    """Two fresh key pairs. Raises Malformed for a suite without a row."""
    scheme, kem = SUITES[suite_of(bytes([suite]))]
    return PrivateKeys(bytes([suite]) + scheme.draw(), bytes([suite]) + kem.draw())


def draw_seeds(suite: int = DEFAULT_SUITE) -> bytearray:
    """Fresh seeds of two key pairs as a SeedSource keeps them, in this one place; the caller overwrites it."""
    scheme, kem = SUITES[suite_of(bytes([suite]))]
    seeds = bytearray(1 + scheme.seed + kem.seed)
    seeds[0] = suite
    for part, start in ((scheme, 1), (kem, 1 + scheme.seed)):
        drawn = part.draw()
        seeds[start : start + part.seed] = drawn
        wipe(drawn)
    return seeds


def seeds_size(suite: int) -> int:
    """Bytes of the seeds of a suite as a SeedSource keeps them."""
    scheme, kem = SUITES[suite_of(bytes([suite]))]
    return 1 + scheme.seed + kem.seed


def check_keys(seal_key: bytes, sign_key: bytes) -> None:
    """Both are public keys of one and the same suite that can be used. Raises Malformed."""
    suite = suite_of(sign_key)
    if suite_of(seal_key) != suite:
        raise Malformed("the two keys of a party are of different suites")
    _public(seal_key, 1)
    _public(sign_key, 0)


def _public(key: bytes, which: int) -> Any:
    part = SUITES[suite_of(key)][which]
    if len(key) != 1 + part.public:
        raise Malformed(f"a public key of suite {key[0]} has {len(key)} bytes, not {1 + part.public}")
    try:
        return part.from_public(key[1:])
    except ValueError as e:
        raise Malformed(f"these bytes are no public key of suite {key[0]}", reason=str(e)) from None


def labelled(label: str, body: bytes) -> bytes:
    """What is signed or authenticated: prefix, label, a zero byte, enc of the fields."""
    return PREFIX + label.encode("ascii") + b"\0" + body


def sign(keys: Keys, label: str, body: bytes) -> bytes:
    """SIG(P, label, x..) with body = enc(x..)."""
    with keys.to_sign() as key:
        try:
            return SUITES[keys.suite][0].sign(key, labelled(label, body))
        finally:
            # An exception keeps this frame, and a key in it, for as long as somebody keeps the exception.
            del key


def verified(sign_key: bytes, label: str, body: bytes, signature: bytes) -> bool:
    """Whether the signature is the key's over this label and these fields; whatever is malformed is a no."""
    try:
        scheme = SUITES[suite_of(sign_key)][0]
        if len(signature) != scheme.size:
            return False
        scheme.verify(_public(sign_key, 0), signature, labelled(label, body))
    except (InvalidSignature, VecError, ValueError):
        return False
    return True


def _info(suite: int, label: str, context: bytes) -> bytes:
    return PREFIX + label.encode("ascii") + b"\0" + bytes([suite]) + context


def seal(seal_key: bytes, label: str, context: bytes, plaintext: bytes) -> bytes:
    """SEAL(P, label, ctx, pt) with context = enc(ctx): suite byte, then HPKE's enc and ciphertext.

    Raises Malformed for a key that nothing can be sealed to (an X25519 point of small order, say).
    """
    suite = suite_of(seal_key)
    public = _public(seal_key, 1)
    try:
        sealed = SUITES[suite][1].hpke.encrypt(plaintext, public, info=_info(suite, label, context))
    except ValueError as e:
        raise Malformed(f"nothing can be sealed to this key of suite {suite}", reason=str(e)) from None
    return bytes([suite]) + sealed


def open_(keys: Keys, label: str, context: bytes, blob: bytes) -> bytes:
    """The plaintext, in a bytes object that nobody else holds (the caller may wipe it). Raises Integrity.

    Whatever is wrong (suite, length, label, context, a bit of the blob), the answer is the same.
    """
    kem = SUITES[keys.suite][1]
    if blob[:1] != bytes([keys.suite]) or len(blob) < 1 + kem.overhead:
        raise Integrity("a sealed message cannot be opened")
    try:
        with keys.to_open() as key:
            try:
                return kem.hpke.decrypt(memoryview(blob)[1:], key, info=_info(keys.suite, label, context))
            finally:
                del key
    except (InvalidTag, ValueError):
        raise Integrity("a sealed message cannot be opened") from None


def h(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def mac(key: bytes | memoryview, label: str, body: bytes) -> bytes:
    """HMAC-SHA256(key, prefix || label || 0 || body) with body = enc(x..): regtok, kcv, attach."""
    return hmac.digest(key, labelled(label, body), "sha256")


def same(one: bytes, other: bytes) -> bool:
    """Equal, compared in constant time."""
    return hmac.compare_digest(one, other)
