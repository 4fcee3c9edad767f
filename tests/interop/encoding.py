"""enc, and what is built on it: labels, MACs, infos. From docs/protocol.md, "Encoding" and "SIG, SEAL, MAC"."""

from __future__ import annotations

import hashlib
import hmac

PREFIX = b"vEC-PPM/v1/"
WHOLE_MAX = 65536


class Refused(Exception):
    """A check of this guest failed; the number is that of docs/protocol.md."""

    def __init__(self, check: str, why: str) -> None:
        super().__init__(f"{check}: {why}")
        self.check = check


def demand(holds: object, check: str, why: str) -> None:
    """Raises Refused unless it holds."""
    if not holds:
        raise Refused(check, why)


def enc(*fields: bytes) -> bytes:
    """For each field its length as u32, big endian, then its bytes."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def dec(data: bytes, count: int, what: str) -> list[bytes]:
    """Exactly `count` fields and not a byte more."""
    demand(len(data) <= WHOLE_MAX, what, "longer than 65536 bytes")
    fields, at = [], 0
    for _ in range(count):
        demand(at + 4 <= len(data), what, "a length is cut")
        size = int.from_bytes(data[at : at + 4], "big")
        demand(at + 4 + size <= len(data), what, "a field is cut")
        fields.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    demand(at == len(data), what, "bytes behind the last field")
    return fields


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def number(field: bytes, size: int, what: str) -> int:
    """A field that is a number of exactly `size` bytes."""
    demand(len(field) == size, what, f"a number has {size} bytes")
    return int.from_bytes(field, "big")


def h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def labelled(label: str, *fields: bytes) -> bytes:
    """What SIG signs and MAC authenticates."""
    return PREFIX + label.encode("ascii") + b"\0" + enc(*fields)


def seal_info(suite: int, label: str, context: tuple[bytes, ...]) -> bytes:
    """The info of HPKE: the suite byte stands between label and context."""
    return PREFIX + label.encode("ascii") + b"\0" + bytes([suite]) + enc(*context)


def mac(key: bytes, label: str, *fields: bytes) -> bytes:
    return hmac.digest(key, labelled(label, *fields), "sha256")


def kcv(key: bytes, id_u: bytes, alg: str, usage: int, r_k: bytes) -> bytes:
    """What the authority knows of a key instead of the key."""
    return mac(key, "kcv", id_u, alg.encode("ascii"), u32(usage), r_k)
