"""What an operation does and what it refuses: IVs, use of keys, lengths, streams. A refusal has status and reason."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from vecd._wire import lib as wire

from tests.conformance.machine import (
    CTR128,
    CTR256,
    DECRYPT,
    ENCRYPT,
    FIRST,
    GCM128,
    GCM256,
    KEY_SIZE,
    LAST,
    NULL,
    RANDOM,
    SHA256,
    UNVERIFIED,
    CardProcess,
    Guest,
)
from vecd.base import errors

MIB = 1 << 20
USE_ENCRYPT, USE_DECRYPT, USE_OWN_IV = wire.VEC_USE_ENCRYPT, wire.VEC_USE_DECRYPT, wire.VEC_USE_OWN_IV


def peer_opens(algorithm: int, secret: bytes, iv: bytes, data: bytes, tag: bytes, aad: bytes) -> bytes:
    """The plaintext by a second implementation."""
    if algorithm in (GCM128, GCM256):
        return AESGCM(secret).decrypt(iv, data + tag, aad)
    return Cipher(algorithms.AES(secret), modes.CTR(iv)).decryptor().update(data)


def refused(reply: object, error: type[errors.VecError], reason: str) -> None:
    said = (errors.by_status(reply.status), reply.reason)
    assert said == (error, getattr(wire, f"VEC_REASON_{reason}")), (said, reply.data)


@pytest.fixture
def guest(card: CardProcess) -> Guest:
    return card.attach(1)


@pytest.mark.parametrize("algorithm", KEY_SIZE)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4096, 32700, 32769, 65536, 300_000, MIB])
def test_a_peer_opens_what_the_card_sealed(card: CardProcess, guest: Guest, algorithm: int, size: int) -> None:
    secret, data = os.urandom(KEY_SIZE[algorithm]), os.urandom(size)
    key = card.key(1, secret, algorithm, USE_ENCRYPT | USE_DECRYPT)
    aad = b"additional" if algorithm in (GCM128, GCM256) else b""
    sealed = guest.ask(ENCRYPT, data, key=key, aad=aad)
    assert sealed.status == 0
    assert peer_opens(algorithm, secret, sealed.iv, sealed.data, sealed.tag, aad) == data
    opened = guest.ask(DECRYPT, sealed.data, key=key, iv=sealed.iv, aad=aad, tag=sealed.tag)
    assert (opened.status, opened.data) == (0, data)


def test_the_card_draws_a_new_iv_every_time(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(16), GCM128, USE_ENCRYPT)
    ivs = {guest.ask(ENCRYPT, b"x", key=key).iv for _ in range(1000)}
    assert len(ivs) == 1000 and {len(iv) for iv in ivs} == {12}
    assert card.keys()[0]["drawn"] == 1000


def test_a_drawn_ctr_iv_starts_its_block_counter_at_zero(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(32), CTR256, USE_ENCRYPT)
    iv = guest.ask(ENCRYPT, b"x", key=key).iv
    assert len(iv) == 16 and iv[12:] == bytes(4) and any(iv[:12])


def test_an_own_iv_needs_the_key_s_usage(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(16), GCM128, USE_ENCRYPT | USE_DECRYPT)
    refused(guest.ask(ENCRYPT, b"x", key=key, iv=bytes(12)), errors.WrongUse, "OWN_IV")
    own = card.key(1, bytes(16), GCM128, USE_ENCRYPT | USE_OWN_IV)
    assert guest.ask(ENCRYPT, b"x", key=own, iv=bytes(12)).iv == bytes(12)
    assert guest.ask(ENCRYPT, b"x", key=own).iv != bytes(12)


@pytest.mark.parametrize("algorithm, size", [(GCM128, 11), (GCM128, 16), (GCM256, 1), (CTR128, 12), (CTR256, 8)])
def test_an_iv_has_the_algorithm_s_length(card: CardProcess, guest: Guest, algorithm: int, size: int) -> None:
    key = card.key(1, bytes(KEY_SIZE[algorithm]), algorithm)
    tag = bytes(16) if algorithm in (GCM128, GCM256) else b""
    refused(guest.ask(ENCRYPT, b"x", key=key, iv=bytes(size)), errors.Malformed, "BAD_IV")
    refused(guest.ask(DECRYPT, b"x", key=key, iv=bytes(size), tag=tag), errors.Malformed, "BAD_IV")
    refused(guest.ask(DECRYPT, b"x", key=key, tag=tag), errors.Malformed, "BAD_IV")


def test_drawn_ivs_come_to_an_end(make_card: Callable[..., CardProcess]) -> None:
    card = make_card(iv_max=5)
    guest, key = card.attach(1), card.key(1, bytes(16), GCM128)
    assert [guest.ask(ENCRYPT, b"x", key=key).status for _ in range(5)] == [0] * 5
    refused(guest.ask(ENCRYPT, b"x", key=key), errors.Exhausted, "IV_LIMIT")
    refused(guest.ask(ENCRYPT, b"x", key=key, stream=1, flags=FIRST), errors.Exhausted, "IV_LIMIT")
    assert guest.ask(ENCRYPT, b"x", key=key, iv=bytes(12)).status == 0


def test_a_key_serves_what_it_was_registered_for(card: CardProcess, guest: Guest) -> None:
    seal, unseal = (card.key(1, bytes(16), GCM128, usage) for usage in (USE_ENCRYPT, USE_DECRYPT))
    sealed = guest.ask(ENCRYPT, b"x", key=seal)
    wanted = {"iv": sealed.iv, "tag": sealed.tag}
    refused(guest.ask(DECRYPT, sealed.data, key=seal, **wanted), errors.WrongUse, "WRONG_USE")
    refused(guest.ask(ENCRYPT, b"x", key=unseal), errors.WrongUse, "WRONG_USE")
    assert guest.ask(DECRYPT, sealed.data, key=unseal, **wanted).data == b"x"


def test_a_key_is_its_instance_s_alone(card: CardProcess, guest: Guest) -> None:
    mine, others = card.key(1, bytes(16), GCM128), card.key(2, bytes(16), GCM128)
    assert guest.ask(ENCRYPT, b"x", key=mine).status == 0
    for number in (others, 999_999, 0, 2**64 - 1):
        refused(guest.ask(ENCRYPT, b"x", key=number), errors.NoKey, "NO_KEY")


def test_an_operation_without_key_needs_a_loaded_one(card: CardProcess, guest: Guest) -> None:
    for op in (NULL, RANDOM, SHA256):
        refused(guest.ask(op, b"abcd"), errors.NoKey, "ANY_KEY")
    key = card.key(1, bytes(16), GCM128)
    assert guest.ask(NULL, b"abcd").data == b"abcd"
    drawn = guest.ask(RANDOM, bytes(4096)).data
    assert len(drawn) == 4096 and len(set(drawn)) > 200
    assert guest.ask(RANDOM, bytes(MIB)).data != guest.ask(RANDOM, bytes(MIB)).data
    refused(guest.ask(NULL, b"abcd", key=key), errors.NoKey, "NO_KEY")


def test_lengths_that_an_operation_does_not_take(card: CardProcess, guest: Guest) -> None:
    gcm, ctr = card.key(1, bytes(16), GCM128), card.key(1, bytes(16), CTR128)
    for wrong in (
        {"op": NULL, "iv": bytes(12)},
        {"op": SHA256, "aad": b"x"},
        {"op": RANDOM, "tag": bytes(16)},
        {"op": ENCRYPT, "key": ctr, "aad": b"x"},
        {"op": ENCRYPT, "key": gcm, "tag": bytes(16)},
        {"op": DECRYPT, "key": gcm, "iv": bytes(12)},
        {"op": DECRYPT, "key": gcm, "iv": bytes(12), "tag": bytes(12)},
        {"op": DECRYPT, "key": ctr, "iv": bytes(16), "tag": bytes(16)},
    ):
        refused(guest.ask(data=b"x", **wrong), errors.Malformed, "BAD_LENGTH")
    assert guest.ask(ENCRYPT, b"x", key=gcm, aad=bytes(65536)).status == 0


# ---- streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", KEY_SIZE)
def test_a_stream_of_large_parts_equals_the_peer_s(card: CardProcess, guest: Guest, algorithm: int) -> None:
    secret, parts = os.urandom(KEY_SIZE[algorithm]), [os.urandom(n) for n in (MIB, 1, 0, 70_001, MIB, 15)]
    key = card.key(1, secret, algorithm)
    sealed = guest.parts(ENCRYPT, parts, key=key)
    data = b"".join(r.data for r in sealed)
    assert peer_opens(algorithm, secret, sealed[0].iv, data, sealed[-1].tag, b"") == b"".join(parts)
    cut = [data[:100], data[100 : MIB + 7], data[MIB + 7 : 2 * MIB], data[2 * MIB :]]
    opened = guest.parts(DECRYPT, cut, key=key, iv=sealed[0].iv, tag=sealed[-1].tag)
    assert b"".join(r.data for r in opened) == b"".join(parts)
    tagged = algorithm in (GCM128, GCM256)
    assert [bool(r.flags & UNVERIFIED) for r in opened] == [tagged, tagged, tagged, False]


def test_the_wrong_tag_of_a_stream_is_found_in_the_last_part(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(16), GCM128)
    sealed = guest.ask(ENCRYPT, b"ab", key=key)
    opened = guest.parts(DECRYPT, [sealed.data[:1], sealed.data[1:]], key=key, iv=sealed.iv, tag=bytes(16))
    assert opened[0].flags & UNVERIFIED
    refused(opened[1], errors.BadTag, "BAD_TAG")
    assert card.keys()[0]["streams"] == 0


def test_eight_streams_are_open_and_no_more(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(16), CTR128)
    for stream in range(1, 9):
        assert guest.ask(ENCRYPT, b"x", key=key, stream=stream, flags=FIRST).status == 0
    refused(guest.ask(ENCRYPT, b"x", key=key, stream=9, flags=FIRST), errors.Exhausted, "STREAMS")
    assert card.keys()[0]["streams"] == 8
    assert guest.ask(ENCRYPT, b"x", key=key, stream=3, sequence=1, flags=LAST).status == 0
    assert guest.ask(ENCRYPT, b"x", key=key, stream=9, flags=FIRST).status == 0
    # Digests have eight of their own.
    for stream in range(1, 9):
        assert guest.ask(SHA256, b"x", stream=stream, flags=FIRST).status == 0
    refused(guest.ask(SHA256, b"x", stream=9, flags=FIRST), errors.Exhausted, "STREAMS")


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequence": 2},
        {"sequence": 5},
        {"op": DECRYPT},
        {"iv": bytes(12)},
        {"aad": b"late"},
    ],
    ids=str,
)
def test_a_refused_part_ends_its_stream(card: CardProcess, guest: Guest, wrong: dict) -> None:
    key = card.key(1, bytes(16), GCM128)
    assert guest.ask(ENCRYPT, b"x", key=key, stream=1, flags=FIRST).status == 0
    part = {"op": ENCRYPT, "key": key, "stream": 1, "sequence": 1, "flags": 0}
    assert guest.ask(data=b"x", **{**part, **wrong}).status != 0
    refused(guest.ask(data=b"x", **part), errors.BadStream, "NO_STREAM")
    assert card.keys()[0]["streams"] == 0


def test_the_number_of_an_open_stream_is_taken(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(16), GCM128)
    assert guest.ask(ENCRYPT, b"x", key=key, stream=1, flags=FIRST).status == 0
    refused(guest.ask(ENCRYPT, b"x", key=key, stream=1, flags=FIRST), errors.BadStream, "NO_STREAM")
    assert guest.ask(ENCRYPT, b"x", key=key, stream=1, sequence=1, flags=LAST).status == 0


def test_a_stream_goes_with_its_connection(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(16), GCM128)
    other = card.attach(1)
    assert other.ask(ENCRYPT, b"x", key=key, stream=1, flags=FIRST).status == 0
    part = {"key": key, "stream": 1, "sequence": 1, "flags": 0}
    refused(guest.ask(ENCRYPT, b"x", **part), errors.BadStream, "NO_STREAM")
    assert other.ask(ENCRYPT, b"x", **part).status == 0
    other.close()
    while card.keys()[0]["streams"]:
        guest.ask(NULL, b"")
    assert guest.ask(ENCRYPT, b"x", key=key, stream=1, flags=FIRST).status == 0


def test_a_stream_ends_where_its_iv_does(make_card: Callable[..., CardProcess]) -> None:
    card = make_card(stream_max=100)
    guest, key = card.attach(1), card.key(1, bytes(16), CTR128)
    assert guest.ask(ENCRYPT, bytes(60), key=key, stream=1, flags=FIRST).status == 0
    assert guest.ask(ENCRYPT, bytes(40), key=key, stream=1, sequence=1, flags=0).status == 0
    refused(guest.ask(ENCRYPT, b"x", key=key, stream=1, sequence=2, flags=0), errors.Exhausted, "STREAM_LONG")


def test_streams_of_two_instances_survive_each_other_s_turns(card: CardProcess) -> None:
    secrets = {1: os.urandom(32), 2: os.urandom(32)}
    guests = {i: card.attach(i) for i in secrets}
    keys = {i: card.key(i, secret, GCM256) for i, secret in secrets.items()}
    plain = {i: [os.urandom(777) for _ in range(200)] for i in secrets}
    sealed: dict[int, list] = {1: [], 2: []}
    for n in range(200):
        for i, guest in guests.items():
            flags = FIRST * (n == 0) | LAST * (n == 199)
            sealed[i].append(guest.ask(ENCRYPT, plain[i][n], key=keys[i], stream=7, sequence=n, flags=flags))
    for i, secret in secrets.items():
        data = b"".join(r.data for r in sealed[i])
        assert AESGCM(secret).decrypt(sealed[i][0].iv, data + sealed[i][-1].tag, b"") == b"".join(plain[i])
    assert card.counters()["switches"] >= 399
    assert card.clean() is True
