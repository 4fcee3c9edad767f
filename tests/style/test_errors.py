"""status.h and vecd/base/errors.py are one table: a class per row, with its number and exit code."""

import re

import pytest

from tests.style.tree import ROOT
from vecd.base import errors

ROW = re.compile(r"X\((\w+),\s*(\d+),\s*(\d+), 0x([0-9A-F]{8}), \"([^\"]+)\"\)")
ROWS = [
    (name, int(number), int(code))
    for name, number, code, _ckr, _sentence in ROW.findall((ROOT / "cext/include/vec/status.h").read_text())
]


def test_numbers_are_used_once() -> None:
    numbers = [number for _, number, _ in ROWS]
    assert len(numbers) == len(set(numbers)) > 20


@pytest.mark.parametrize(("name", "number", "code"), [row for row in ROWS if row[0] != "OK"])
def test_every_status_has_one_class(name: str, number: int, code: int) -> None:
    mine = [each for each in errors.ERRORS if each.status == number]
    assert len(mine) == 1, name
    assert errors.by_status(number) is mine[0]
    assert mine[0].exit_code == code, name


def test_every_class_has_a_status() -> None:
    assert {each.status for each in errors.ERRORS} == {number for name, number, _ in ROWS if name != "OK"}


def test_what_fails_while_deciding_is_a_refusal() -> None:
    for refusal in (errors.Denied, errors.WrongUse, errors.ProtocolRefused, errors.Caller):
        assert issubclass(refusal, errors.Refused)
