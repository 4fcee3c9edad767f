"""Perfect cryptography behind the interface of vecd.protocol.schemes: bytes that stand for terms.

Inside `perfect()` there is one more suite, whose keys, signatures and sealed blobs are opaque strings of the right
length, and SHA-256 and HMAC note what they were computed of. Nothing else of vecd.protocol is touched: the machines'
own enc and dec, labels, contexts and checks run as they are. `term_of` says what a string means, `bytes_of` is its
inverse.

Sealing is deterministic: who seals the same to the same key twice makes the same blob, which is more than an attacker
could tell in reality.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

from cryptography.exceptions import InvalidSignature, InvalidTag

from vecd.base.errors import Malformed
from vecd.protocol import suites
from vecd.protocol.encoding import dec, enc
from vecd.protocol.schemes import Kem, Signature

from . import terms
from .terms import Term

SUITE = 0x53
_BYTE = bytes([SUITE])

# What an opaque string means, as it was made and, on demand, as a term; and back.
_MADE: dict[bytes, Callable[[], Term]] = {}
_TERM: dict[bytes, Term] = {}
_BYTES: dict[Term, bytes] = {}
# Signature: (public key, what was signed). Sealed: (public key, info, plaintext).
_SIGNED: dict[bytes, tuple[bytes, bytes]] = {}
_SEALED: dict[bytes, tuple[bytes, bytes, bytes]] = {}


def _opaque(*parts: bytes, size: int = 32) -> bytes:
    """As long as it has to be; the first byte keeps it from being read as an enc of anything."""
    return b"\xff" + hashlib.shake_256(enc(*parts)).digest(size - 1)


def atom(text: str, size: int = 32) -> bytes:
    """A fresh string that is the name `text`: a nonce, an id, a key."""
    made = _opaque(b"atom", text.encode(), size=size)
    _MADE[made] = lambda: terms.name(text)
    return bytes(bytearray(made))


def known(text: str, size: int = 16) -> bytes:
    """A string that is the literal `text`, which everybody has: a party's id."""
    made = _opaque(b"known", text.encode(), size=size)
    _MADE[made] = lambda: terms.literal(text)
    return made


def number(text: str) -> int:
    """A number of 64 bits that is the literal `text`: nobody is surprised by the next serial."""
    made = _opaque(b"number", text.encode(), size=8)
    _MADE[made] = lambda: terms.literal(text)
    return int.from_bytes(made, "big")


# ---- what strings mean -------------------------------------------------------------------------------------------


def term_of(blob: bytes) -> Term:
    """What these bytes mean: what they were made as, or a tuple, or themselves."""
    found = _TERM.get(blob)
    if found is None:
        blob = bytes(bytearray(blob))
        found = _TERM[blob] = _MADE[blob]() if blob in _MADE else _parsed(blob)
        _BYTES[found] = blob
    return found


def _parsed(blob: bytes) -> Term:
    at = fields = 0
    while at + 4 <= len(blob):
        at, fields = at + 4 + int.from_bytes(blob[at : at + 4], "big"), fields + 1
    # Eight zero bytes are a number, though they could be two empty fields.
    if fields and at == len(blob) and any(blob):
        try:
            return terms.enc(*map(term_of, dec(blob, fields)))
        except Malformed:
            pass
    # Words of the protocol (a role, an algorithm) as they are, numbers without their zeros.
    words = blob.isascii() and blob.replace(b"-", b"").isalnum() or not blob
    return terms.literal(blob.decode("ascii") if words else blob.hex().lstrip("0") or "0")


def bytes_of(term: Term) -> bytes:
    """The bytes that mean the term, which something made before; a tuple is made here."""
    found = _BYTES.get(term)
    if found is None:
        assert term.kind == "enc", f"nothing ever made {term!r}"
        found = enc(*map(bytes_of, term.parts))
        _BYTES[term], _TERM[found] = found, term
    return found


def build(term: Term) -> bytes:
    """The bytes that mean the term, made with whatever key it names: for who has made sure that it may be built."""
    if term.kind == "enc":
        return enc(*map(build, term.parts))
    if term.kind == "aenc":
        to, plaintext, info = term.parts
        made = _Hpke().encrypt(build(plaintext), build(to)[1:], info=_prefixed(info, _BYTE))
        return _BYTE + made
    if term.kind == "public":
        return _BYTE + _public_of(_BYTES[term.parts[0]])
    if term.kind == "sign":
        return _sign(_BYTES[term.parts[0]], _prefixed(term.parts[1]))
    if term.kind == "mac":
        return _digest(build(term.parts[0]), _prefixed(term.parts[1]), "sha256")
    if term.kind == "hash":
        return _sha256(build(term.parts[0])).digest()
    # A label is only ever a part of what is signed or sealed; by itself it is its text.
    return _BYTES[term] if term in _BYTES else term.parts[0].encode()


def _prefixed(labelled: Term, behind: bytes = b"") -> bytes:
    label, rest = labelled.parts
    return suites.labelled(label.parts[0], behind + build(rest))


def _labelled(data: bytes) -> Term:
    """prefix || label || 0 || rest as (label, rest)."""
    label, _, rest = data.removeprefix(suites.PREFIX).partition(b"\0")
    return terms.enc(terms.literal(label.decode()), term_of(rest))


def _info(info: bytes) -> Term:
    label, _, rest = info.removeprefix(suites.PREFIX).partition(b"\0")
    return terms.enc(terms.literal(label.decode()), term_of(rest[1:]))


def is_label(term: Term) -> bool:
    """It stands for no bytes of a message."""
    return term.kind == "literal" and term not in _BYTES


def label_of(term: Term) -> str:
    """The label of a signature, a seal or a MAC."""
    return _LABELLED[term.kind](term).parts[0].parts[0]


def body_of(term: Term) -> Term:
    """What a signature or MAC is over, or what was sealed."""
    return term.parts[1] if term.kind == "aenc" else term.parts[1].parts[1]


_LABELLED = {"sign": lambda t: t.parts[1], "mac": lambda t: t.parts[1], "aenc": lambda t: t.parts[2]}


# ---- the suite ---------------------------------------------------------------------------------------------------


def _public_of(seed: bytes) -> bytes:
    seed = bytes(seed)
    made = _opaque(b"public", seed)
    _MADE[made] = lambda: terms.public(term_of(seed))
    # As the protocol sends it: behind the suite byte.
    _MADE[_BYTE + made] = lambda: terms.public(term_of(seed))
    return made


def _sign(seed: bytes, data: bytes) -> bytes:
    made = _opaque(b"sign", seed, data, size=64)
    if made not in _SIGNED:
        _SIGNED[made] = _public_of(seed), data
        _MADE[made] = lambda: terms.sign(term_of(seed), _labelled(data))
    return made


def _verify(public: bytes, signature: bytes, data: bytes) -> None:
    if _SIGNED.get(signature) != (public, data):
        raise InvalidSignature


class _Hpke:
    def encrypt(self, plaintext: bytes, public: bytes, *, info: bytes) -> bytes:
        # The caller wipes what it sealed: a copy of its own.
        plaintext = bytes(bytearray(plaintext))
        made = _opaque(b"seal", public, info, plaintext)
        if made not in _SEALED:
            _SEALED[made] = public, info, plaintext
            _MADE[_BYTE + made] = lambda: terms.aenc(term_of(_BYTE + public), term_of(plaintext), _info(info))
        return made

    def decrypt(self, sealed: bytes | memoryview, seed: bytes, *, info: bytes) -> bytes:
        to, under, plaintext = _SEALED.get(bytes(sealed), (b"", b"", b""))
        if (to, under) != (_public_of(seed), info):
            raise InvalidTag
        return bytes(bytearray(plaintext))


def _unused() -> bytes:
    raise AssertionError("keys of this suite are made by `keys`, so that they have names")


_SIGNATURE = Signature(
    seed=32,
    public=32,
    size=64,
    draw=_unused,
    from_seed=bytes,
    public_of=_public_of,
    from_public=bytes,
    sign=_sign,
    verify=_verify,
)
_KEM = Kem(
    hpke=_Hpke(),  # type: ignore[arg-type]
    seed=32,
    public=32,
    overhead=32,
    draw=_unused,
    from_seed=bytes,
    public_of=lambda seed, _key: _public_of(seed),
    from_public=bytes,
)


def keys(owner: str) -> suites.PrivateKeys:
    """The two key pairs of a party; as terms, its name and its name with a prime are the private keys."""
    return suites.PrivateKeys(_BYTE + atom(owner), _BYTE + atom(f"{owner}'"))


def secrets(owner: str) -> tuple[Term, Term]:
    """The two private keys of `keys`, for whoever the attacker has in its hand."""
    return terms.name(owner), terms.name(f"{owner}'")


def _sha256(data: bytes) -> Any:
    made, data = hashlib.sha256(data), bytes(data)
    _MADE[made.digest()] = lambda: terms.hashed(term_of(data))
    return made


def _digest(key: bytes | memoryview, data: bytes, how: str) -> bytes:
    made, key = hmac.digest(key, data, how), bytes(bytearray(key))
    _MADE[made] = lambda: terms.mac(term_of(key), _labelled(data))
    return made


def mac(key: bytes | memoryview, data: bytes) -> bytes:
    """What a vault computes: HMAC-SHA256 over data that is labelled already."""
    return _digest(key, data, "sha256")


@contextmanager
def perfect() -> Iterator[None]:
    """The suite is there, and hashes are read as terms."""
    with (
        mock.patch.dict(suites.SUITES, {SUITE: (_SIGNATURE, _KEM)}),
        mock.patch.object(suites, "hashlib", SimpleNamespace(sha256=_sha256)),
        mock.patch.object(suites, "hmac", SimpleNamespace(digest=_digest, compare_digest=hmac.compare_digest)),
    ):
        yield
