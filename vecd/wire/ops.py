"""The tables of wire.h and status.h as frozen data, read from the C module: no number stands here a second time.

OPS, CONTROLS, ALGS, REASONS and STATUSES map the name of a row to the row, in the order of the header; the `*_number`
mappings find the same rows by number. Flags, attributes, usage bits and limits are the header's, under its names
without VEC_. docs/wire.md explains them; tests/unit/test_wire_ops.py holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from vecd._wire import ffi, lib

MAGIC: Final[int] = lib.VEC_WIRE_MAGIC
WIRE_VERSION: Final[int] = lib.VEC_WIRE_VERSION
HEADER_SIZE: Final[int] = lib.VEC_HEADER_SIZE
DATA_MAX: Final[int] = lib.VEC_DATA_MAX
AAD_MAX: Final[int] = lib.VEC_AAD_MAX
IV_MAX: Final[int] = lib.VEC_IV_MAX
TAG_MAX: Final[int] = lib.VEC_TAG_MAX
CONTROL_MAX: Final[int] = lib.VEC_CONTROL_MAX
ATTACH_TAG_SIZE: Final[int] = lib.VEC_ATTACH_TAG_SIZE
STREAMS_MAX: Final[int] = lib.VEC_STREAMS_MAX
BATCH_REQUESTS: Final[int] = lib.VEC_BATCH_REQUESTS
BATCH_BYTES: Final[int] = lib.VEC_BATCH_BYTES
BATCH_NS: Final[int] = lib.VEC_BATCH_NS
PORT: Final[int] = lib.VEC_PORT

# Operations from here on are the control half (guest and broker), below it the data half (guest and card process).
CONTROL_HALF: Final[int] = 0x80

F_REPLY: Final[int] = lib.VEC_F_REPLY
F_FIRST: Final[int] = lib.VEC_F_FIRST
F_LAST: Final[int] = lib.VEC_F_LAST
F_UNVERIFIED: Final[int] = lib.VEC_F_UNVERIFIED
F_ONE_SHOT: Final[int] = F_FIRST | F_LAST

R: Final[int] = lib.VEC_R
W: Final[int] = lib.VEC_W
A: Final[int] = lib.VEC_A
C: Final[int] = lib.VEC_C
E: Final[int] = lib.VEC_E

USE_ENCRYPT: Final[int] = lib.VEC_USE_ENCRYPT
USE_DECRYPT: Final[int] = lib.VEC_USE_DECRYPT
USE_OWN_IV: Final[int] = lib.VEC_USE_OWN_IV
USE_ALL: Final[int] = lib.VEC_USE_ALL


@dataclass(frozen=True, slots=True)
class Op:
    """A data operation: the attribute that puts data in, the one that takes the result out, the usage bits it needs."""

    name: str
    number: int
    attribute_in: int
    attribute_out: int
    usage: int
    stream: bool


@dataclass(frozen=True, slots=True)
class Control:
    """A control operation, and what the data of request and reply are."""

    name: str
    number: int
    request: str
    reply: str


@dataclass(frozen=True, slots=True)
class Alg:
    """A key algorithm; key, iv and tag in bytes, text as it stands in protocol messages, evp as OpenSSL calls it."""

    name: str
    number: int
    text: str
    key: int
    iv: int
    tag: int
    evp: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the data half refused; rule is the number of the model's rule, 0 where none applies."""

    name: str
    number: int
    rule: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Status:
    """A row of status.h: wire number, exit code of vecctl, PKCS#11 return value."""

    name: str
    number: int
    exit_code: int
    ckr: int
    sentence: str


Row = TypeVar("Row", Op, Control, Alg, Reason, Status)


def _text(pointer: Any) -> str:
    return ffi.string(pointer).decode()


def _table(rows: Callable[[Any], Any], make: Callable[[Any], Row]) -> Mapping[str, Row]:
    count = ffi.new("size_t *")
    first = rows(count)
    return MappingProxyType({_text(first[at].name): make(first[at]) for at in range(count[0])})


OPS: Final[Mapping[str, Op]] = _table(
    lib.vec_op_rows,
    lambda row: Op(_text(row.name), row.number, getattr(row, "in"), row.out, row.usage, bool(row.stream)),
)
CONTROLS: Final[Mapping[str, Control]] = _table(
    lib.vec_control_rows, lambda row: Control(_text(row.name), row.number, _text(row.request), _text(row.reply))
)
ALGS: Final[Mapping[str, Alg]] = _table(
    lib.vec_alg_rows,
    lambda row: Alg(_text(row.name), row.number, _text(row.text), row.key, row.iv, row.tag, _text(row.evp)),
)
REASONS: Final[Mapping[str, Reason]] = _table(
    lib.vec_reason_rows, lambda row: Reason(_text(row.name), row.number, row.rule, _text(row.sentence))
)
STATUSES: Final[Mapping[str, Status]] = _table(
    lib.vec_status_rows,
    lambda row: Status(_text(row.name), row.number, row.exit_code, row.ckr, _text(row.sentence)),
)


def _by_number(rows: Mapping[str, Row]) -> Mapping[int, Row]:
    return MappingProxyType({row.number: row for row in rows.values()})


OP_NUMBER: Final[Mapping[int, Op]] = _by_number(OPS)
CONTROL_NUMBER: Final[Mapping[int, Control]] = _by_number(CONTROLS)
ALG_NUMBER: Final[Mapping[int, Alg]] = _by_number(ALGS)
REASON_NUMBER: Final[Mapping[int, Reason]] = _by_number(REASONS)
STATUS_NUMBER: Final[Mapping[int, Status]] = _by_number(STATUSES)
ALG_TEXT: Final[Mapping[str, Alg]] = MappingProxyType({alg.text: alg for alg in ALGS.values()})
