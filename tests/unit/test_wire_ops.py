"""The tables of the wire: what Python sees, what C decides by, and what docs/wire.md says are one thing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vecd.base import errors
from vecd.wire import ops

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "wire.md").read_text()
LETTERS = {ops.R: "r", ops.W: "w", ops.A: "a", ops.C: "c", ops.E: "e*"}
USES = {ops.USE_ENCRYPT: "encrypt", ops.USE_DECRYPT: "decrypt", ops.USE_OWN_IV: "own_iv", 0: "none"}


def table(name):
    """The rows of one table of the document, as lists of plain text."""
    part = DOC.split(f"<!-- table: {name} -->", 1)[1].lstrip("\n").split("\n\n", 1)[0]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]


def test_every_operation_names_two_attributes():
    for op in ops.OPS.values():
        assert op.attribute_in and op.attribute_out and op.number < ops.CONTROL_HALF


@pytest.mark.parametrize("rows", [ops.OPS, ops.CONTROLS, ops.ALGS, ops.REASONS, ops.STATUSES])
def test_a_table_is_frozen_and_its_numbers_differ(rows):
    assert len({row.number for row in rows.values()}) == len(rows)
    with pytest.raises(TypeError):
        rows["NEW"] = None


def test_control_operations_are_in_their_half():
    assert all(row.number >= ops.CONTROL_HALF for row in ops.CONTROLS.values())


def test_the_document_has_every_operation():
    assert table("operations") == [
        [
            op.name,
            f"0x{op.number:02x}",
            LETTERS[op.attribute_in],
            LETTERS[op.attribute_out],
            USES[op.usage],
            "yes" if op.stream else "no",
        ]
        for op in ops.OPS.values()
    ]


def test_the_document_has_every_algorithm():
    assert table("algorithms") == [
        [str(alg.number), alg.text, str(alg.key), str(alg.iv), str(alg.tag)] for alg in ops.ALGS.values()
    ]


def test_the_document_has_every_control_operation():
    assert table("controls") == [
        [row.name, f"0x{row.number:02x}", row.request, row.reply] for row in ops.CONTROLS.values()
    ]


def test_the_document_has_every_reason():
    assert table("reasons") == [
        [str(row.number), row.name, f"R{row.rule}" if row.rule else "", row.sentence] for row in ops.REASONS.values()
    ]


def test_the_document_has_every_status():
    assert table("statuses") == [[str(row.number), row.name, row.sentence] for row in ops.STATUSES.values()]


def test_the_document_has_every_limit_and_flag():
    names = (
        "DATA_MAX AAD_MAX IV_MAX TAG_MAX CONTROL_MAX ATTACH_TAG_SIZE STREAMS_MAX BATCH_REQUESTS BATCH_BYTES BATCH_NS"
    )
    assert dict(table("limits")) == {name: str(getattr(ops, name)) for name in names.split()}
    assert [row[:2] for row in table("flags")] == [
        [str(value), name]
        for value, name in (
            (ops.F_REPLY, "REPLY"),
            (ops.F_FIRST, "FIRST"),
            (ops.F_LAST, "LAST"),
            (ops.F_UNVERIFIED, "UNVERIFIED"),
        )
    ]
    assert str(ops.PORT) in DOC and f"0x{ops.MAGIC:08x}" in DOC


def test_the_document_has_the_header_of_the_code():
    header = (ROOT / "cext" / "include" / "vec" / "wire.h").read_text()
    fields = re.findall(r"^ \* +(\d+) (u\d+) +(\w+)", header, re.M)
    assert len(fields) == 14
    assert [tuple(row[:3]) for row in table("header")] == fields


def test_every_status_has_its_class():
    for row in ops.STATUSES.values():
        if row.number:
            cls = errors.by_status(row.number)
            assert (cls.status, cls.exit_code, cls.sentence) == (row.number, row.exit_code, row.sentence)


def test_the_build_does_nothing_when_nothing_changed():
    build = [sys.executable, str(ROOT / "cext" / "build_ffi.py"), "_wire", "_shm"]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    again = subprocess.run(build, check=True, capture_output=True, text=True, timeout=120)
    assert again.stdout.split("\n")[:2] == ["vecd._wire: unchanged", "vecd._shm: unchanged"]
