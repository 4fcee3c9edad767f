"""Known answers (tests/vectors/card, each with its origin), in one shot and in every kind of parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from vecd._shm import lib as status
from vecd._wire import ffi
from vecd._wire import lib as wire

from tests.conformance.machine import DECRYPT, ENCRYPT, KEY_SIZE, SHA256, CardProcess, Guest

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "card"
ALGORITHMS = {ffi.string(wire.vec_alg_find(n).text).decode(): n for n in KEY_SIZE}


@dataclass(frozen=True)
class Vector:
    name: str
    fields: dict[str, str]
    data: bytes

    def hex(self, name: str) -> bytes:
        return bytes.fromhex(self.fields.get(name, ""))


def read(path: Path) -> Vector:
    head, data = path.read_bytes().split(b"\n\n", 1)
    lines = [line.partition(":") for line in head.decode().splitlines()]
    return Vector(path.name, {name: value.strip() for name, _, value in lines}, data)


ALL = [read(path) for path in sorted(VECTORS.iterdir())]


def of(*operations: str) -> list:
    return [pytest.param(v, id=v.name) for v in ALL if v.fields["operation"] in operations]


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Two parts at every place, one byte a part, empty parts between, everything in the first or the last."""
    for at in range(len(data) + 1):
        yield [data[:at], data[at:]]
    yield [b"", *(bytes([byte]) for byte in data), b""]
    yield [b"", data, b"", b""]


def loaded(card: CardProcess, vector: Vector) -> tuple[Guest, int]:
    key = card.key(1, vector.hex("key"), ALGORITHMS[vector.fields["algorithm"]])
    return card.attach(1), key


def test_every_vector_names_its_origin() -> None:
    assert len(ALL) >= 14 and all(v.fields["origin"] and "expect" in v.fields for v in ALL)


@pytest.mark.parametrize("vector", of("encrypt"))
def test_a_cipher_in_one_shot_and_back(card: CardProcess, vector: Vector) -> None:
    guest, key = loaded(card, vector)
    extra = {"key": key, "iv": vector.hex("iv"), "aad": vector.hex("aad")}
    sealed = guest.ask(ENCRYPT, vector.data, **extra)
    assert (sealed.status, sealed.data, sealed.tag) == (0, vector.hex("expect"), vector.hex("tag"))
    assert sealed.iv == vector.hex("iv")
    opened = guest.ask(DECRYPT, sealed.data, tag=sealed.tag, **extra)
    assert (opened.status, opened.data, opened.tag, opened.iv) == (0, vector.data, b"", b"")


@pytest.mark.parametrize("vector", of("encrypt"))
def test_a_cipher_in_every_kind_of_parts(card: CardProcess, vector: Vector) -> None:
    guest, key = loaded(card, vector)
    extra = {"key": key, "iv": vector.hex("iv"), "aad": vector.hex("aad")}
    for cut in cuts(vector.data):
        sealed = guest.parts(ENCRYPT, cut, **extra)
        assert b"".join(r.data for r in sealed) == vector.hex("expect") and sealed[-1].tag == vector.hex("tag")
        assert sealed[0].iv == vector.hex("iv") and not any(r.iv for r in sealed[1:])
    for cut in cuts(vector.hex("expect")):
        opened = guest.parts(DECRYPT, cut, tag=vector.hex("tag"), **extra)
        assert b"".join(r.data for r in opened) == vector.data and opened[-1].status == 0


@pytest.mark.parametrize("vector", of("decrypt"))
def test_a_wrong_tag_delivers_nothing(card: CardProcess, vector: Vector) -> None:
    guest, key = loaded(card, vector)
    reply = guest.ask(DECRYPT, vector.data, key=key, iv=vector.hex("iv"), aad=vector.hex("aad"), tag=vector.hex("tag"))
    assert vector.fields["expect"] == "ETAG BAD_TAG"
    assert (reply.status, reply.reason) == (status.VEC_ETAG, wire.VEC_REASON_BAD_TAG)
    assert len(reply.data) < len(vector.data) + 60 and reply.data[2:].isascii()


@pytest.mark.parametrize("vector", of("sha256"))
def test_a_digest_in_one_shot_and_in_parts(card: CardProcess, vector: Vector) -> None:
    card.key(1, bytes(16), ALGORITHMS["AES-128-GCM"])
    guest = card.attach(1)
    assert guest.ask(SHA256, vector.data).data == vector.hex("expect")
    for cut in cuts(vector.data):
        replies = guest.parts(SHA256, cut, key=0)
        assert [r.data for r in replies] == [b""] * (len(cut) - 1) + [vector.hex("expect")]
