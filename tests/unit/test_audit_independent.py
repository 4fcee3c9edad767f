"""A verifier written from docs/audit.md alone: it shares no code with ours, and agrees with it.

What it imports of the project only makes the logs that it judges.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import struct
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DOC = (Path(__file__).parents[2] / "docs/audit.md").read_text()
SWITCHED, WORKED, READ_BACK, CLEAN, BIND, START = 1, 2, 8, 3, 4, 16


def table(name: str) -> list[list[str]]:
    """A table of the page, by its mark."""
    text = DOC.partition(f"<!-- table: {name} -->\n")[2].partition("\n\n")[0]
    return [[cell.strip(" `") for cell in row.strip("| ").split("|")] for row in text.splitlines()[2:]]


# ---- what the page says, in code


def enc(*fields: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4, "big") + one for one in fields)


def dec(blob: bytes, n: int) -> list[bytes]:
    out = []
    for _ in range(n):
        size = int.from_bytes(blob[:4], "big")
        out.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    assert not blob
    return out


def check_signature(key: bytes, label: str, body: bytes, signature: bytes) -> None:
    assert key[0] in (1, 2)
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature, b"vEC-PPM/v1/" + label.encode() + b"\0" + body)


def root_body(r: dict) -> bytes:
    u64 = lambda n: n.to_bytes(8, "big")  # noqa: E731
    witness = u64(r["witness"][0]) + bytes.fromhex(r["witness"][1]) if r["witness"] else b""
    return enc(
        r["chain"].encode(),
        bytes.fromhex(r["id"]),
        u64(r["start"]),
        u64(r["number"]),
        u64(r["sequence"]),
        bytes.fromhex(r["value"]),
        u64(r["time"]),
        bytes.fromhex(r["previous"]),
        witness,
        bytes.fromhex(r["key"]),
        r["note"].encode(),
    )


def check_root(r: dict) -> None:
    check_signature(bytes.fromhex(r["key"]), "audit-root", root_body(r), bytes.fromhex(r["signature"]))


def facts(record: bytes) -> dict:
    names = [row[2] for row in table("record")]
    return dict(zip(names, struct.unpack("<QQQHBBHH", record[:32]), strict=True))


def check_proof(p: dict, authority: bytes) -> None:
    """The five steps of "To check a proof"."""
    root = json.loads(p["root"])
    statement, signature = dec(bytes.fromhex(p["certificate"]), 2)
    check_signature(authority, "cert", statement, signature)
    role, _, _, _, sign_key, *_ = dec(statement, 9)
    assert role == b"card" and sign_key.hex() == root["key"]
    check_root(root)
    assert root["chain"] == f"card {p['card']}"
    value, sequence, rows = bytes.fromhex(p["value"]), p["from"]["record"], {}
    for text in p["records"]:
        record = bytes.fromhex(text)
        value = hashlib.sha256(value + record[:32]).digest()
        row = facts(record)
        assert len(record) == 64 and record[32:] == value and row["sequence"] == sequence
        rows[sequence] = row
        sequence += 1
    assert value.hex() == root["value"] and root["sequence"] == sequence
    a, b = p["from"], p["to"]
    assert a["instance"] != b["instance"] and a["record"] < b["record"]
    for end in (a, b):
        assert rows[end["record"]]["flags"] & WORKED and rows[end["record"]]["instance"] == end["instance"]
    between = [rows[n] for n in range(a["record"] + 1, b["record"] + 1)]
    assert not any(one["flags"] & WORKED for one in between[:-1])
    assert any(
        one["flags"] & SWITCHED or one["kind"] == START or (one["kind"] in (CLEAN, BIND) and one["flags"] & READ_BACK)
        for one in between
    )


def check_log(folder: Path) -> tuple[str, int]:
    """Steps 1 to 3 of "What is checked": the chain's name, and how many records are signed."""
    last, value, count, chain = None, bytes(32), 0, ""
    for roots_file in sorted(folder.glob("*.roots")):
        first = int(roots_file.stem)
        roots = [json.loads(line) for line in roots_file.read_text().splitlines()]
        assert roots[0]["sequence"] == first and (last is None or roots[0] == last)
        value = bytes.fromhex(roots[0]["value"])
        chain = roots[0]["chain"]
        data = roots_file.with_suffix(".records").read_bytes()
        parts = data.splitlines() if chain == "guard" else [data[n : n + 64] for n in range(0, len(data), 64)]
        values = [value]
        for number, part in enumerate(parts, first):
            if chain == "guard":
                content, _, tail = part.rpartition(b',"chain":"')
                own, given = json.loads(part)["seq"], bytes.fromhex(tail[:64].decode())
            else:
                content, own, given = part[:32], facts(part)["sequence"], part[32:]
            value = hashlib.sha256(value + content).digest()
            assert own == number and given == value
            values.append(value)
        for before, root in zip([None, *roots], roots, strict=False):
            check_root(root)
            assert bytes.fromhex(root["value"]) == values[root["sequence"] - first]
            if before is not None:
                assert root["number"] == before["number"] + 1
                assert root["previous"] == hashlib.sha256(root_body(before)).hexdigest()
        last, count = roots[-1], roots[-1]["sequence"]
    return chain, count


# ---- logs of ours


@pytest.fixture
def logs(tmp_path):
    from tests.unit.audit_log import small

    return {chain: small(tmp_path / chain.replace(" ", "-"), chain) for chain in ("card c0", "guard")}


@pytest.mark.parametrize("chain", ["card c0", "guard"])
def test_it_agrees_about_an_honest_log(logs, chain):
    assert check_log(logs[chain].path) == (chain, logs[chain].sequence)


@pytest.mark.parametrize("chain", ["card c0", "guard"])
def test_it_finds_what_was_changed(logs, chain):
    for path in sorted(logs[chain].path.glob("*.records")):
        data = path.read_bytes()
        for at in range(0, len(data), 7):
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            with pytest.raises((AssertionError, ValueError, KeyError)):
                check_log(logs[chain].path)
        path.write_bytes(data)


@pytest.fixture
def proved(tmp_path):
    """A proof by our code, under a certificate of an authority; the authority's key."""
    from tests.unit.audit_log import Log
    from vecd.audit import proof
    from vecd.audit.files import segments
    from vecd.protocol.messages import Certificate, pack
    from vecd.protocol.suites import generate, sign

    authority, keys = generate(1), generate(2)
    body = pack(Certificate("card", b"c" * 16, b"d" * 16, keys.seal_key, keys.sign_key, bytes(32), 7, 0, 2**40))
    certificate = enc(body, sign(authority, "cert", body))
    log = Log(tmp_path / "log", keys=keys).start()
    log.turn(1, switched=True)
    log.turn(1)
    log.card(kind=3, flags=SWITCHED)
    log.card(kind=1, flags=16, instance=2)
    log.turn(2)
    log.turn(2)
    log.root()
    log.turn(1, switched=True)
    log.stop()
    report = log.report()
    assert report.good
    made = [
        proof.make("c0", one, proof.span(segments(log.path), one.last, one.first), certificate.hex(), {1: "A.1"})
        for one in report.kept
    ]
    return [json.loads(json.dumps(one)) for one in made], authority.sign_key


def test_it_agrees_about_a_proof_and_so_do_we(proved):
    from vecd.audit import proof

    made, authority = proved
    assert [(one["from"]["instance"], one["to"]["instance"]) for one in made] == [(1, 2), (2, 1)]
    assert made[0]["wipes"] == [3] and len(made[0]["records"]) == 5 and made[0]["from"]["name"] == "A.1"
    for one in made:
        check_proof(one, authority)
        proof.check(one, authority)


def spoiled(p: dict):
    """The proof with one thing wrong, each in turn."""

    def with_(**changes: object) -> dict:
        return {**copy.deepcopy(p), **changes}

    records = p["records"]
    for n in range(len(records)):
        yield f"without record {n}", with_(records=records[:n] + records[n + 1 :])
        for at in range(0, 128, 5):
            digit = "0" if records[n][at] != "0" else "1"
            changed = records[n][:at] + digit + records[n][at + 1 :]
            yield f"record {n}, digit {at}", with_(records=[*records[:n], changed, *records[n + 1 :]])
    yield "another value", with_(value="00" * 32)
    yield "another card", with_(card="c1")
    for end in ("from", "to"):
        yield f"{end}: another instance", with_(**{end: {**p[end], "instance": 3}})
        yield f"{end}: another record", with_(**{end: {**p[end], "record": p[end]["record"] + 1}})
    root = json.loads(p["root"])
    for name in ("time", "number", "sequence"):
        yield f"root {name}", with_(root=json.dumps({**root, name: root[name] + 1}, separators=(",", ":")))
    yield "no certificate", with_(certificate="")
    yield "a certificate cut off", with_(certificate=p["certificate"][:-2])


def test_whatever_is_wrong_in_a_proof_is_found_by_both(proved):
    from vecd.audit import proof
    from vecd.base.errors import Integrity

    made, authority = proved
    tried = 0
    for what, one in spoiled(made[0]):
        with pytest.raises((AssertionError, InvalidSignature, ValueError, IndexError, struct.error, KeyError)):
            check_proof(one, authority)
        with pytest.raises(Integrity):
            proof.check(one, authority)
        tried += 1
        assert what
    assert tried > 100


def test_a_proof_under_another_authority_is_none(proved):
    from vecd.audit import proof
    from vecd.base.errors import Integrity
    from vecd.protocol.suites import generate

    other = generate(1).sign_key
    with pytest.raises(InvalidSignature):
        check_proof(proved[0][0], other)
    with pytest.raises(Integrity, match="authority"):
        proof.check(proved[0][0], other)


def test_a_hand_over_without_a_wipe_has_no_proof(tmp_path):
    """A card that signs what no card may do: neither verifier takes it."""
    from tests.unit.audit_log import Log
    from vecd.audit import proof
    from vecd.audit.files import segments
    from vecd.base.errors import Integrity

    log = Log(tmp_path / "log").start()
    log.turn(1, switched=True)
    log.turn(2)
    log.stop()
    this = log.report().kept[0]
    made = proof.make("c0", this, proof.span(segments(log.path), this.last, this.first), "", {})
    with pytest.raises(Integrity, match="no wipe"):
        proof.check(made, None)


# ---- the page and the header


def test_the_page_has_the_layout_of_the_header():
    from vecd._card import ffi, lib

    rows = ffi.typeof("struct vec_audit_facts").fields
    assert [(int(one[0]), int(one[1]), one[2]) for one in table("record")] == [
        (field.offset, ffi.sizeof(field.type), name) for name, field in rows
    ]
    assert ffi.sizeof("struct vec_audit_facts") == lib.VEC_AUDIT_FACTS == 32
    assert [(int(one[0]), one[1]) for one in table("kinds")] == [
        (number, name.removeprefix("VEC_AUDIT_"))
        for number, name in sorted(ffi.typeof("enum vec_audit_kind").elements.items())
    ]
    assert all(int(one[0]) == getattr(lib, f"VEC_AUDIT_{one[1]}") for one in table("flags"))


def test_our_python_has_the_numbers_of_the_header():
    from vecd._card import ffi, lib

    from vecd.audit import records

    kinds = ffi.typeof("enum vec_audit_kind").elements
    assert {kind.value: f"VEC_AUDIT_{kind.name}" for kind in records.Kind} == kinds
    assert all(flag.value == getattr(lib, f"VEC_AUDIT_{flag.name}") for flag in records.Flag)
    assert [int(row[0]) for row in table("flags")] == [flag.value for flag in records.Flag]
    assert (records.FACTS_BYTES, records.RECORD_BYTES) == (lib.VEC_AUDIT_FACTS, lib.VEC_AUDIT_RECORD)
    one = records.Facts(1, 2, 3 << 30, 4, 5, 6, 7, 8)
    assert (
        records.facts_of(bytes(ffi.buffer(ffi.new("struct vec_audit_facts *", [1, 2, 3 << 30, 4, 5, 6, 7, 8])))) == one
    )
    assert one.generation == 3


def test_the_verifier_here_is_independent():
    source = Path(__file__).read_text()
    for function in re.findall(r"^def (?!test_|logs|proved|spoiled).*?(?=^\S)", source, re.M | re.S):
        assert "vecd" not in function
