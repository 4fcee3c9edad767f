"""Suites: which signature, which HPKE, how keys look as bytes.

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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from vecd.base.errors import Integrity, Malformed, VecError
from vecd.base.secret import wipe

from .schemes import SUITES, WRONG, Kem, Seed, Signature

T = TypeVar("T")

PREFIX = b"vEC-PPM/v1/"
DEFAULT_SUITE = 2


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

    def sign_with(self, operation: Callable[[Any], bytes]) -> bytes:
        """What the operation makes with the signature key of `cryptography`; it keeps no hold of the key."""

    def open_with(self, operation: Callable[[Any], bytes]) -> bytes:
        """What the operation makes with the key for HPKE; it keeps no hold of the key."""


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

    def sign_with(self, operation: Callable[[Any], bytes]) -> bytes:
        return operation(self._sign)

    def open_with(self, operation: Callable[[Any], bytes]) -> bytes:
        return operation(self._seal)


class SeedSource(Protocol):
    """Who keeps a party's seeds: suite byte, signature seed, seed of the HPKE key, one behind the other."""

    def lend(self, operation: Callable[[memoryview], T]) -> T:
        """What the operation makes of the seeds, which it sees where they are kept and until it returns.

        What it leaves on the stack is overwritten.
        """


@dataclass(frozen=True, slots=True)
class LentKeys:
    """The two key pairs of a party whose seeds somebody else keeps: borrowed for one operation, then forgotten."""

    source: SeedSource = field(repr=False, compare=False)
    sign_key: bytes = field(init=False)  # pkS
    seal_key: bytes = field(init=False)  # pkE

    def __post_init__(self) -> None:
        object.__setattr__(self, "sign_key", self.source.lend(_sign_key_of))
        object.__setattr__(self, "seal_key", self.source.lend(_seal_key_of))

    @property
    def suite(self) -> int:
        return self.sign_key[0]

    def sign_with(self, operation: Callable[[Any], bytes]) -> bytes:
        def signed(seeds: memoryview) -> bytes:
            with _parted(seeds, self.suite)[0] as seed:
                return operation(_signer(self.suite, seed))

        return self.source.lend(signed)

    def open_with(self, operation: Callable[[Any], bytes]) -> bytes:
        def opened(seeds: memoryview) -> bytes:
            with _parted(seeds, self.suite)[1] as seed:
                return operation(_opener(self.suite, seed))

        return self.source.lend(opened)


def _parted(seeds: memoryview, suite: int) -> tuple[memoryview, memoryview]:
    """Of lent seeds, the signature key's and the HPKE key's."""
    if len(seeds) != seeds_size(suite):
        raise Malformed(f"the seeds of suite {suite} have not their length")
    size = SUITES[suite][0].seed
    return seeds[1 : 1 + size], seeds[1 + size :]


def _sign_key_of(seeds: memoryview) -> bytes:
    suite = suite_of(bytes(seeds[:1]))
    with _parted(seeds, suite)[0] as seed:
        return bytes([suite]) + SUITES[suite][0].public_of(_signer(suite, seed))


def _seal_key_of(seeds: memoryview) -> bytes:
    suite = suite_of(bytes(seeds[:1]))
    with _parted(seeds, suite)[1] as seed:
        return bytes([suite]) + SUITES[suite][1].public_of(seed, _opener(suite, seed))


def _signer(suite: int, seed: Seed) -> Any:
    return _key(suite, SUITES[suite][0], seed)


def _opener(suite: int, seed: Seed) -> Any:
    return _key(suite, SUITES[suite][1], seed)


def _key(suite: int, part: Signature | Kem, seed: Seed) -> Any:
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
    scheme, data = SUITES[keys.suite][0], labelled(label, body)

    def operation(key: Any) -> bytes:
        try:
            return scheme.sign(key, data)
        finally:
            # An exception keeps this frame, and a key in it, for as long as somebody keeps the exception.
            del key

    return keys.sign_with(operation)


def verified(sign_key: bytes, label: str, body: bytes, signature: bytes) -> bool:
    """Whether the signature is the key's over this label and these fields; whatever is malformed is a no."""
    try:
        scheme = SUITES[suite_of(sign_key)][0]
        if len(signature) != scheme.size:
            return False
        scheme.verify(_public(sign_key, 0), signature, labelled(label, body))
    except (VecError, *WRONG):
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
    sealed, info = memoryview(blob)[1:], _info(keys.suite, label, context)

    def operation(key: Any) -> bytes:
        try:
            return kem.hpke.decrypt(sealed, key, info=info)
        finally:
            del key

    try:
        return keys.open_with(operation)
    except WRONG:
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
