"""docs/guest.md says what is so: the calls, their defaults, the format of a file, the errors."""

import inspect
import re
from pathlib import Path

import vecd.guest
from vecd.base import errors
from vecd.base.config import Broker
from vecd.guest import Card, enrol, parts
from vecd.guest.files import FileHead
from vecd.wire import ops

TEXT = (Path(__file__).resolve().parents[2] / "docs/guest.md").read_text()


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def test_the_signatures_in_the_manual_are_those_of_the_code():
    for name, function in (("enrol", enrol), ("Card.connect", Card.connect)):
        (written,) = re.findall(rf"^`{re.escape(name)}\((.*)\)`$", TEXT, re.MULTILINE)
        named = [part.split("=")[0].strip() for part in written.split(",")]
        assert [part for part in named if part != "*"] == parameters(function)


def test_every_public_call_of_a_card_is_in_the_manual():
    public = [name for name in vars(Card) if not name.startswith("_")]
    missing = [name for name in public if not re.search(rf"\b{name}\b", TEXT)]
    assert missing == ["name"] or missing == []


def test_every_public_name_of_the_package_can_be_imported():
    for name in vecd.guest.__all__:
        assert hasattr(vecd.guest, name)


def test_every_error_that_the_manual_names_exists():
    section = TEXT.split("## What goes wrong")[1].split("## Files")[0]
    for name in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section, re.MULTILINE):
        for one in re.findall(r"`(\w+)`", name):
            assert issubclass(getattr(errors, one), errors.VecError)


def test_the_format_of_a_file_is_the_one_in_the_manual():
    alg = ops.ALG_TEXT["AES-256-GCM"]
    head = FileHead(alg.number, bytes(alg.iv), alg.tag)
    assert (head.size, alg.iv, alg.tag) == (20, 12, 16)
    assert head.encode()[:8] == b"vECF\x01\x02\x0c\x10"
    assert "1 AES-128-GCM, 2 AES-256-GCM" in TEXT and ops.ALG_TEXT["AES-128-GCM"].number == 1


def test_the_numbers_in_the_manual_are_those_of_the_code():
    assert "parts of 256 KiB with four on their way" in TEXT and (parts.PART_BYTES, parts.WINDOW) == (256 * 1024, 4)
    assert "up to 1 MiB go as one frame" in TEXT and ops.DATA_MAX == 1 << 20
    assert "`linger_s` (30 s)" in TEXT and Broker().linger_s == 30.0
