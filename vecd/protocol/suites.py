"""Suites: which signature, which HPKE, how keys look as bytes. The only door to `cryptography` in this package.

RFC 9180 (HPKE, base mode, single shot). The KEM of suite 2 is MLKEM768-X25519, 0x647a (draft-ietf-hpke-pq; X-Wing,
draft-connolly-cfrg-xwing-kem); its public key is the ML-KEM-768 key followed by the X25519 key. docs/protocol.md,
"Suites".
There is no negotiation: the first byte of a key is its suite, and the certificate decides.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
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

from vecd.base.errors import Integrity, Malformed, VecError

PREFIX = b"vEC-PPM/v1/"
DEFAULT_SUITE = 2

_CURVE = ec.SECP256R1()
_SCALAR = 32
_ECDSA = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class _Signature:
    """How one signature scheme makes keys from seeds and bytes; sizes in bytes, without the suite byte."""

    seed: int
    public: int
    size: int
    draw: Callable[[], bytes]
    from_seed: Callable[[bytes], Any]
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
    from_seed: Callable[[bytes], Any]
    public_of: Callable[[bytes, Any], bytes]
    from_public: Callable[[bytes], Any]


def _p256_draw() -> bytes:
    return ec.generate_private_key(_CURVE).private_numbers().private_value.to_bytes(_SCALAR, "big")


def _p256_from_seed(seed: bytes) -> ec.EllipticCurvePrivateKey:
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


def _hybrid_draw() -> bytes:
    first, second = mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    return first.private_bytes_raw() + second.private_bytes_raw()


def _hybrid_from_seed(seed: bytes) -> MLKEM768X25519PrivateKey:
    return MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED]),
        x25519.X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:]),
    )


def _hybrid_public_of(seed: bytes, _key: Any) -> bytes:
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
    draw=lambda: ed25519.Ed25519PrivateKey.generate().private_bytes_raw(),
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
    draw=lambda: x25519.X25519PrivateKey.generate().private_bytes_raw(),
    from_seed=x25519.X25519PrivateKey.from_private_bytes,
    public_of=lambda _seed, key: key.public_key().public_bytes_raw(),
    from_public=x25519.X25519PublicKey.from_public_bytes,
)
_HYBRID = _Kem(
    hpke=Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    seed=_MLKEM_SEED + _X_SIZE,
    public=_MLKEM_PUBLIC + _X_SIZE,
    overhead=1120 + 16,
    draw=_hybrid_draw,
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


@dataclass(frozen=True, slots=True)
class PrivateKeys:
    """The two key pairs of a party. `sign_seed` and `seal_seed` start with the suite byte; never printed."""

    sign_seed: bytes = field(repr=False)
    seal_seed: bytes = field(repr=False)
    sign_key: bytes = field(init=False)  # pkS
    seal_key: bytes = field(init=False)  # pkE
    _sign: Any = field(init=False, repr=False, compare=False)
    _seal: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        suite = suite_of(self.sign_seed)
        scheme, kem = SUITES[suite]
        if suite_of(self.seal_seed) != suite:
            raise Malformed("the two keys of a party are of different suites")
        if len(self.sign_seed) != 1 + scheme.seed or len(self.seal_seed) != 1 + kem.seed:
            raise Malformed(f"a seed of suite {suite} has not its length")
        try:
            sign, seal = scheme.from_seed(self.sign_seed[1:]), kem.from_seed(self.seal_seed[1:])
        except ValueError as e:
            raise Malformed(f"a seed of suite {suite} is no key", reason=str(e)) from None
        for name, value in (
            ("sign_key", bytes([suite]) + scheme.public_of(sign)),
            ("seal_key", bytes([suite]) + kem.public_of(self.seal_seed[1:], seal)),
            ("_sign", sign),
            ("_seal", seal),
        ):
            object.__setattr__(self, name, value)

    @property
    def suite(self) -> int:
        return self.sign_seed[0]


def generate(suite: int = DEFAULT_SUITE) -> PrivateKeys:
    """Two fresh key pairs. Raises Malformed for a suite without a row."""
    scheme, kem = SUITES[suite_of(bytes([suite]))]
    return PrivateKeys(bytes([suite]) + scheme.draw(), bytes([suite]) + kem.draw())


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


def sign(keys: PrivateKeys, label: str, body: bytes) -> bytes:
    """SIG(P, label, x..) with body = enc(x..)."""
    return SUITES[keys.suite][0].sign(keys._sign, labelled(label, body))


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


def open_(keys: PrivateKeys, label: str, context: bytes, blob: bytes) -> bytes:
    """The plaintext, in a bytes object that nobody else holds (the caller may wipe it). Raises Integrity.

    Whatever is wrong (suite, length, label, context, a bit of the blob), the answer is the same.
    """
    kem = SUITES[keys.suite][1]
    if blob[:1] != bytes([keys.suite]) or len(blob) < 1 + kem.overhead:
        raise Integrity("a sealed message cannot be opened")
    try:
        return kem.hpke.decrypt(memoryview(blob)[1:], keys._seal, info=_info(keys.suite, label, context))
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
