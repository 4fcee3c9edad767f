"""The three suites by hand: RFC 9180 base mode, single shot, over the primitives of `cryptography`.

From docs/protocol.md, "Suites", and RFC 9180 where that page names it: LabeledExtract, LabeledExpand, DHKEM and the
key schedule.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .encoding import Refused, demand, labelled, seal_info

KDF_HKDF_SHA256 = 0x0001
AEAD_AES_256_GCM = 0x0002
TAG = 16
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _extract(suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite_id + label + ikm, "sha256")


def _expand(suite_id: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    info = size.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info
    block, out = b"", b""
    while len(out) < size:
        block = hmac.digest(prk, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:size]


def _schedule(kem: int, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and base nonce in base mode."""
    suite_id = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (kem, KDF_HKDF_SHA256, AEAD_AES_256_GCM))
    context = b"\0" + _extract(suite_id, b"", b"psk_id_hash", b"") + _extract(suite_id, b"", b"info_hash", info)
    secret = _extract(suite_id, shared, b"secret", b"")
    return _expand(suite_id, secret, b"key", context, 32), _expand(suite_id, secret, b"base_nonce", context, 12)


def _dhkem(kem: int, dh: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    """ExtractAndExpand of DHKEM: the shared secret of 32 bytes."""
    suite_id = b"KEM" + kem.to_bytes(2, "big")
    return _expand(suite_id, _extract(suite_id, b"", b"eae_prk", dh), b"shared_secret", ephemeral + recipient, 32)


def _combine(ss_m: bytes, ss_x: bytes, ct_x: bytes, pk_x: bytes) -> bytes:
    return hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + rb"\.//^" + b"\\").digest()


def _p256_private(seed: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(seed, "big"), ec.SECP256R1())


def _p256_point(point: bytes) -> ec.EllipticCurvePublicKey:
    demand(len(point) == 65 and point[0] == 4, "key", "a point is uncompressed")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def _p256_public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _p256_scalar() -> bytes:
    return (1 + secrets.randbelow(P256_ORDER - 1)).to_bytes(32, "big")


def _x25519_public(seed: bytes) -> bytes:
    return x25519.X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _x25519_dh(seed: bytes, public: bytes) -> bytes:
    return x25519.X25519PrivateKey.from_private_bytes(seed).exchange(x25519.X25519PublicKey.from_public_bytes(public))


# --- encapsulation: (shared secret, enc) from the public key; the shared secret from seed and enc


def _x25519_encap(public: bytes) -> tuple[bytes, bytes]:
    seed = secrets.token_bytes(32)
    ephemeral = _x25519_public(seed)
    return _dhkem(0x0020, _x25519_dh(seed, public), ephemeral, public), ephemeral


def _x25519_decap(seed: bytes, ephemeral: bytes) -> bytes:
    return _dhkem(0x0020, _x25519_dh(seed, ephemeral), ephemeral, _x25519_public(seed))


def _hybrid_public(seed: bytes) -> bytes:
    key = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:64])
    return key.public_key().public_bytes_raw() + _x25519_public(seed[64:])


def _hybrid_encap(public: bytes) -> tuple[bytes, bytes]:
    ss_m, ct_m = mlkem.MLKEM768PublicKey.from_public_bytes(public[:1184]).encapsulate()
    seed = secrets.token_bytes(32)
    ct_x = _x25519_public(seed)
    return _combine(ss_m, _x25519_dh(seed, public[1184:]), ct_x, public[1184:]), ct_m + ct_x


def _hybrid_decap(seed: bytes, sent: bytes) -> bytes:
    ss_m = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:64]).decapsulate(sent[:1088])
    ct_x = sent[1088:]
    return _combine(ss_m, _x25519_dh(seed[64:], ct_x), ct_x, _x25519_public(seed[64:]))


def _p256_encap(public: bytes) -> tuple[bytes, bytes]:
    key = _p256_private(_p256_scalar())
    ephemeral = _p256_public(key)
    return _dhkem(0x0010, key.exchange(ec.ECDH(), _p256_point(public)), ephemeral, public), ephemeral


def _p256_decap(seed: bytes, ephemeral: bytes) -> bytes:
    key = _p256_private(seed)
    return _dhkem(0x0010, key.exchange(ec.ECDH(), _p256_point(ephemeral)), ephemeral, _p256_public(key))


# --- signatures


def _ed_public(seed: bytes) -> bytes:
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _ed_sign(seed: bytes, data: bytes) -> bytes:
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed).sign(data)


def _ed_verify(public: bytes, signature: bytes, data: bytes) -> None:
    ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)


def _p256_sign(seed: bytes, data: bytes) -> bytes:
    r, s = decode_dss_signature(_p256_private(seed).sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _p256_verify(public: bytes, signature: bytes, data: bytes) -> None:
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    _p256_point(public).verify(der, data, ec.ECDSA(SHA256()))


@dataclass(frozen=True)
class Suite:
    """One row of the table of suites; sizes are without the suite byte."""

    kem: int
    sent: int
    seal_public: int
    sign_public: int
    new_sign: Callable[[], bytes]
    new_seal: Callable[[], bytes]
    sign_of: Callable[[bytes], bytes]
    seal_of: Callable[[bytes], bytes]
    sign: Callable[[bytes, bytes], bytes]
    verify: Callable[[bytes, bytes, bytes], None]
    encap: Callable[[bytes], tuple[bytes, bytes]]
    decap: Callable[[bytes, bytes], bytes]


def _seed(size: int) -> Callable[[], bytes]:
    return lambda: secrets.token_bytes(size)


ED = {"sign_public": 32, "new_sign": _seed(32), "sign_of": _ed_public, "sign": _ed_sign, "verify": _ed_verify}
SUITES = {
    1: Suite(
        kem=0x0020,
        sent=32,
        seal_public=32,
        new_seal=_seed(32),
        seal_of=_x25519_public,
        encap=_x25519_encap,
        decap=_x25519_decap,
        **ED,
    ),
    2: Suite(
        kem=0x647A,
        sent=1120,
        seal_public=1216,
        new_seal=_seed(96),
        seal_of=_hybrid_public,
        encap=_hybrid_encap,
        decap=_hybrid_decap,
        **ED,
    ),
    3: Suite(
        kem=0x0010,
        sent=65,
        seal_public=65,
        sign_public=65,
        new_sign=_p256_scalar,
        new_seal=_p256_scalar,
        sign_of=lambda seed: _p256_public(_p256_private(seed)),
        seal_of=lambda seed: _p256_public(_p256_private(seed)),
        sign=_p256_sign,
        verify=_p256_verify,
        encap=_p256_encap,
        decap=_p256_decap,
    ),
}


def _suite(tagged: bytes, what: str) -> tuple[Suite, bytes]:
    demand(tagged and tagged[0] in SUITES, what, "an unknown suite")
    return SUITES[tagged[0]], tagged[1:]


@dataclass(frozen=True)
class Keys:
    """The two pairs of a party, as seeds with their suite byte; both are of one suite."""

    sign_seed: bytes
    seal_seed: bytes

    @classmethod
    def new(cls, suite: int) -> Keys:
        """Fresh pairs of this suite."""
        row = SUITES[suite]
        return cls(bytes([suite]) + row.new_sign(), bytes([suite]) + row.new_seal())

    @property
    def pk_s(self) -> bytes:
        suite, seed = _suite(self.sign_seed, "seed")
        return self.sign_seed[:1] + suite.sign_of(seed)

    @property
    def pk_e(self) -> bytes:
        suite, seed = _suite(self.seal_seed, "seed")
        return self.seal_seed[:1] + suite.seal_of(seed)

    def sign(self, label: str, *fields: bytes) -> bytes:
        """SIG of this party."""
        suite, seed = _suite(self.sign_seed, "seed")
        return suite.sign(seed, labelled(label, *fields))

    def open(self, check: str, label: str, context: tuple[bytes, ...], blob: bytes) -> bytes:
        """The plaintext of a SEAL to this party."""
        suite, seed = _suite(self.seal_seed, "seed")
        demand(blob[:1] == self.seal_seed[:1], check, "sealed by another suite")
        sent, sealed = blob[1 : 1 + suite.sent], blob[1 + suite.sent :]
        demand(len(sent) == suite.sent and len(sealed) >= TAG, check, "the blob is cut")
        key, nonce = _schedule(suite.kem, suite.decap(seed, sent), seal_info(blob[0], label, context))
        try:
            return AESGCM(key).decrypt(nonce, sealed, b"")
        except InvalidTag:
            raise Refused(check, f'does not open under "{label}" and its context') from None


def verifies(pk_s: bytes, signature: bytes, label: str, *fields: bytes) -> bool:
    """The signature is that party's over these fields."""
    suite, public = _suite(pk_s, "key")
    demand(len(public) == suite.sign_public and len(signature) == 64, "signature", "a size is wrong")
    try:
        suite.verify(public, signature, labelled(label, *fields))
    except InvalidSignature:
        return False
    return True


def seal(pk_e: bytes, label: str, context: tuple[bytes, ...], plain: bytes) -> bytes:
    """SEAL to the holder of this public key."""
    suite, public = _suite(pk_e, "key")
    demand(len(public) == suite.seal_public, "key", "its size is wrong")
    shared, sent = suite.encap(public)
    key, nonce = _schedule(suite.kem, shared, seal_info(pk_e[0], label, context))
    return pk_e[:1] + sent + AESGCM(key).encrypt(nonce, plain, b"")
