"""The suites, held against an HPKE and an X-Wing written here from RFC 9180 and the drafts, with hashlib alone."""

import contextlib
import hashlib
import hmac
import os
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vecd.base.errors import Integrity, Malformed
from vecd.base.secret import wipe
from vecd.protocol import suites
from vecd.protocol.encoding import enc

ALL = sorted(suites.SUITES)
CTX = enc(b"ctx")


# ---- an independent HPKE, base mode, single shot (RFC 9180, 4, 5.1, 6.1, 7.1) --------------------------------------


def _extract(salt, ikm):
    return hmac.digest(salt, ikm, hashlib.sha256)


def _expand(prk, info, length):
    out = block = b""
    while len(out) < length:
        block = _extract(prk, block + info + bytes([len(out) // 32 + 1]))
        out += block
    return out[:length]


def _labeled_extract(suite_id, salt, label, ikm):
    return _extract(salt, b"HPKE-v1" + suite_id + label + ikm)


def _labeled_expand(suite_id, prk, label, info, length):
    return _expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite_id + label + info, length)


def _schedule_and_open(kem_id, shared, info, ciphertext):
    suite_id = b"HPKE" + struct.pack(">HHH", kem_id, 1, 2)
    psk_id_hash = _labeled_extract(suite_id, b"", b"psk_id_hash", b"")
    info_hash = _labeled_extract(suite_id, b"", b"info_hash", info)
    context = b"\0" + psk_id_hash + info_hash
    secret = _labeled_extract(suite_id, shared, b"secret", b"")
    key = _labeled_expand(suite_id, secret, b"key", context, 32)
    nonce = _labeled_expand(suite_id, secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")


def _dhkem(kem_id, dh, kem_context):
    suite_id = b"KEM" + struct.pack(">H", kem_id)
    return _labeled_expand(suite_id, _labeled_extract(suite_id, b"", b"eae_prk", dh), b"shared_secret", kem_context, 32)


def _open_x25519(keys, info, blob):
    key = x25519.X25519PrivateKey.from_private_bytes(keys.seal_seed[1:])
    shared = _dhkem(
        0x20, key.exchange(x25519.X25519PublicKey.from_public_bytes(blob[:32])), blob[:32] + keys.seal_key[1:]
    )
    return _schedule_and_open(0x20, shared, info, blob[32:])


def _open_hybrid(keys, info, blob):
    # X-Wing: SHA3-256(ss_M || ss_X || ct_X || pk_X || "\.//^\"); HPKE takes the KEM's shared secret as it is.
    first = mlkem.MLKEM768PrivateKey.from_seed_bytes(keys.seal_seed[1:65])
    second = x25519.X25519PrivateKey.from_private_bytes(keys.seal_seed[65:])
    ct_x, pk_x = blob[1088:1120], keys.seal_key[1 + 1184 :]
    ss_x = second.exchange(x25519.X25519PublicKey.from_public_bytes(ct_x))
    shared = hashlib.sha3_256(first.decapsulate(blob[:1088]) + ss_x + ct_x + pk_x + b"\\.//^\\").digest()
    return _schedule_and_open(0x647A, shared, info, blob[1120:])


def _open_p256(keys, info, blob):
    key = ec.derive_private_key(int.from_bytes(keys.seal_seed[1:], "big"), ec.SECP256R1())
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), blob[:65])
    shared = _dhkem(0x10, key.exchange(ec.ECDH(), peer), blob[:65] + keys.seal_key[1:])
    return _schedule_and_open(0x10, shared, info, blob[65:])


@pytest.mark.parametrize("suite, opener", [(1, _open_x25519), (2, _open_hybrid), (3, _open_p256)])
def test_seal_is_opened_by_an_independent_hpke(suite, opener):
    keys = suites.generate(suite)
    blob = suites.seal(keys.seal_key, "k7", CTX, b"a key of 32 bytes, say, and more")
    info = b"vEC-PPM/v1/k7\0" + bytes([suite]) + CTX
    assert blob[0] == suite
    assert opener(keys, info, blob[1:]) == b"a key of 32 bytes, say, and more"


# ---- our own side --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", ALL)
def test_a_seed_is_the_key(suite):
    keys = suites.generate(suite)
    again = suites.PrivateKeys(keys.sign_seed, keys.seal_seed)
    assert (again.sign_key, again.seal_key) == (keys.sign_key, keys.seal_key)
    assert suites.open_(again, "x", CTX, suites.seal(keys.seal_key, "x", CTX, b"hello")) == b"hello"
    assert suites.verified(keys.sign_key, "x", b"body", suites.sign(again, "x", b"body"))


@pytest.mark.parametrize("suite", ALL)
def test_the_overhead_of_a_blob_is_the_tables(suite):
    keys = suites.generate(suite)
    assert len(suites.seal(keys.seal_key, "x", CTX, b"12345")) == 1 + suites.SUITES[suite][1].overhead + 5


@pytest.mark.parametrize("suite", ALL)
def test_open_refuses_every_other_label_context_suite_and_blob(suite):
    keys, other = suites.generate(suite), suites.generate(suite)
    blob = suites.seal(keys.seal_key, "x", CTX, b"hello")
    flipped = bytes([blob[0]]) + bytes([blob[1] ^ 1]) + blob[2:]
    cases = [
        (keys, "y", CTX, blob),
        (keys, "x", enc(b"ctx", b""), blob),
        (other, "x", CTX, blob),
        (keys, "x", CTX, flipped),
        (keys, "x", CTX, blob[:-1] + bytes([blob[-1] ^ 1])),
        (keys, "x", CTX, blob[:-1]),
        (keys, "x", CTX, blob + b"\0"),
        (keys, "x", CTX, bytes([suite % 3 + 1]) + blob[1:]),
        (keys, "x", CTX, b""),
        (keys, "x", CTX, blob[:1]),
    ]
    for case in cases:
        with pytest.raises(Integrity):
            suites.open_(*case)


@pytest.mark.parametrize("suite", ALL)
def test_a_signature_is_for_one_key_label_and_body(suite):
    keys, other = suites.generate(suite), suites.generate(suite)
    s = suites.sign(keys, "v1", b"body")
    assert len(s) == 64
    assert suites.verified(keys.sign_key, "v1", b"body", s)
    for key, label, body, signature in [
        (other.sign_key, "v1", b"body", s),
        (keys.sign_key, "v2", b"body", s),
        (keys.sign_key, "v1", b"bodY", s),
        (keys.sign_key, "v1", b"body", s[:-1]),
        (keys.sign_key, "v1", b"body", s + b"\0"),
        (keys.sign_key, "v1", b"body", b""),
        (keys.sign_key, "v1", b"body", bytes(64)),
        (keys.sign_key, "v1", b"body", bytes([s[0] ^ 1]) + s[1:]),
        (keys.sign_key[:-1], "v1", b"body", s),
        (b"\x09" + keys.sign_key[1:], "v1", b"body", s),
        (b"", "v1", b"body", s),
    ]:
        assert not suites.verified(key, label, body, signature)


@pytest.mark.parametrize("suite", [0, 4, 255])
def test_a_suite_without_a_row_is_not_spoken(suite):
    with pytest.raises(Malformed):
        suites.generate(suite)
    with pytest.raises(Malformed):
        suites.seal(bytes([suite]) + bytes(32), "x", CTX, b"")


def test_the_keys_of_a_party_are_of_one_suite():
    one, three = suites.generate(1), suites.generate(3)
    with pytest.raises(Malformed):
        suites.PrivateKeys(one.sign_seed, three.seal_seed)
    with pytest.raises(Malformed):
        suites.check_keys(one.seal_key, three.sign_key)
    suites.check_keys(one.seal_key, one.sign_key)


@pytest.mark.parametrize("suite, tail", [(1, bytes(32)), (2, bytes(32))])
def test_a_point_of_small_order_cannot_be_sealed_to(suite, tail):
    keys = suites.generate(suite)
    with pytest.raises(Malformed):
        suites.seal(keys.seal_key[:-32] + tail, "x", CTX, b"secret")


def test_a_point_off_the_curve_is_no_key():
    keys = suites.generate(3)
    with pytest.raises(Malformed):
        suites.check_keys(keys.seal_key[:-1] + bytes([keys.seal_key[-1] ^ 1]), keys.sign_key)


def test_private_keys_do_not_print_their_seeds():
    keys = suites.generate(1)
    assert keys.sign_seed.hex() not in repr(keys) and repr(keys.sign_seed) not in repr(keys)


def test_a_plaintext_can_be_overwritten_in_place():
    keys = suites.generate(2)
    plaintext = suites.open_(keys, "x", CTX, suites.seal(keys.seal_key, "x", CTX, os.urandom(64)))
    alias = plaintext
    wipe(plaintext)
    assert alias == bytes(64)


# ---- keys that are lent --------------------------------------------------------------------------------------------


class Keeper:
    """Seeds in one place, as a card's arena has them."""

    def __init__(self, seeds):
        self.seeds, self.lent, self.operations = seeds, False, 0

    def lend(self, operation):
        assert not self.lent
        self.lent, self.operations = True, self.operations + 1
        with memoryview(self.seeds).toreadonly() as view:
            made = operation(view)
        self.lent = False
        return made


def _both(suite):
    """The same keys, lent and kept."""
    seeds = suites.draw_seeds(suite)
    cut = 1 + suites.SUITES[suite][0].seed
    kept = suites.PrivateKeys(bytes(seeds[:cut]), bytes(seeds[:1] + seeds[cut:]))
    keeper = Keeper(seeds)
    return suites.LentKeys(keeper), kept, keeper


@pytest.mark.parametrize("suite", ALL)
def test_keys_that_are_lent_do_what_those_that_are_kept_do(suite):
    lent, kept, keeper = _both(suite)
    assert (lent.suite, lent.sign_key, lent.seal_key) == (kept.suite, kept.sign_key, kept.seal_key)
    before = keeper.operations
    assert suites.verified(kept.sign_key, "x", b"body", suites.sign(lent, "x", b"body"))
    blob = suites.seal(kept.seal_key, "x", CTX, b"some text")
    assert suites.open_(lent, "x", CTX, blob) == suites.open_(kept, "x", CTX, blob) == b"some text"
    assert keeper.operations == before + 2


@pytest.mark.parametrize("suite", ALL)
def test_lent_keys_hold_no_seed_and_an_error_keeps_none(suite):
    lent, kept, keeper = _both(suite)
    blob = bytearray(suites.seal(kept.seal_key, "x", CTX, b"some text"))
    blob[-1] ^= 1
    with pytest.raises(Integrity) as error:
        suites.open_(lent, "x", CTX, bytes(blob))
    # Every frame that the error and what came before it keep: no private key is in one.
    one = error.value
    while one is not None:
        trace = one.__traceback__
        while trace is not None:
            assert not [
                v for v in trace.tb_frame.f_locals.values() if "PrivateKey" in type(v).__name__ and v is not kept
            ]
            trace = trace.tb_next
        one = one.__context__
    assert kept.sign_seed[1:].hex() not in repr(lent)
    # Overwritten where they are kept, they are nowhere.
    keeper.lent = False
    keeper.seeds[1:] = bytes(len(keeper.seeds) - 1)
    with pytest.raises(Malformed) if suite == 3 else contextlib.nullcontext():
        assert not suites.verified(kept.sign_key, "x", b"body", suites.sign(lent, "x", b"body"))


@pytest.mark.parametrize("suite", ALL)
def test_seeds_of_another_length_are_refused(suite):
    seeds = suites.draw_seeds(suite)
    assert len(seeds) == suites.seeds_size(suite) and seeds[0] == suite
    for wrong in (seeds[:-1], seeds + b"\0", seeds[:1]):
        with pytest.raises(Malformed, match="have not their length"):
            suites.LentKeys(Keeper(wrong))
    for unknown in (b"", b"\x09" + seeds[1:]):
        with pytest.raises(Malformed, match="unknown suite"):
            suites.LentKeys(Keeper(unknown))
