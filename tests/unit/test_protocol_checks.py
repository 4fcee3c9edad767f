"""Every check of every message, violated once: the refusal names the message and the check, and changes nothing.

The numbers are those of docs/protocol.md and of the comments in vecd/protocol; the last tests hold the three equal.
"""

import os
import re
from pathlib import Path

import pytest

import vecd.protocol
from vecd.base.errors import ProtocolRefused
from vecd.protocol import suites
from vecd.protocol.messages import M1, Signed, pack, signed, unpack
from vecd.protocol.registration import enrol_card, enrol_user

from . import protocol_cases_loading, protocol_cases_more, protocol_cases_registration, protocol_cases_verification
from .protocol_cases import CASES
from .protocol_scene import ALG, USAGE, Scene

assert protocol_cases_loading and protocol_cases_more and protocol_cases_registration and protocol_cases_verification


def _flat():
    for number, cases in CASES.items():
        for n, (rule, reason, function) in enumerate(cases):
            yield pytest.param(rule, reason, function, id=f"{number}{'abcdefgh'[n] if len(cases) > 1 else ''}")


# ---- the tests ---------------------------------------------------------------------------------------------------


@pytest.fixture
def scene():
    return Scene()


@pytest.mark.parametrize("rule, reason, violate", list(_flat()))
def test_a_violated_check_is_refused_by_its_message(scene, rule, reason, violate):
    staged = len(scene.c._vault.secrets)
    with pytest.raises(ProtocolRefused) as e:
        violate(scene)
    assert (e.value.rule, reason in e.value.reason) == (rule, True), e.value.reason
    assert e.value.status == 18
    # A run that waits for 11 or has its key active holds one secret; a refusal leaves none behind.
    waiting = sum(s.staged is not None for s in scene.c._sessions.values())
    assert len(scene.c._vault.secrets) == staged + waiting + len(scene.c.slots) + len(scene.c._released)


def _numbers(text):
    return set(re.findall(r"\b(?:R[1-4]|KR|KV|RL|[AK]|1[0-2]|[1-9])\.\d+\b", text))


def _in_code():
    found = set()
    for path in Path(vecd.protocol.__path__[0]).glob("*.py"):
        for line in path.read_text().splitlines():
            _, _, comment = line.partition("  # ")
            found |= _numbers(comment) if re.match(r"(?:R[1-4]|[A-Z]{1,2}|\d+)\.\d", comment) else set()
    return found


#: Not a refusal: the authority answers keybad.
ANSWERED = {"9.11"}


def test_every_check_in_the_code_is_violated_here():
    assert _in_code() - ANSWERED - set(CASES) - {"R2.10 - R2.13"} == set()


def test_every_check_in_the_code_is_in_the_document_and_the_other_way_round():
    document = Path(vecd.protocol.__path__[0]).parents[1] / "docs/protocol.md"
    rows = {m for line in document.read_text().splitlines() for m in re.findall(r"^\| ([A-Z0-9]+\.\d+) \|", line)}
    assert rows == _in_code()


@pytest.mark.parametrize("enrol", [enrol_card, enrol_user])
def test_an_enrolment_file_of_another_role_is_refused_at_once(scene, enrol):
    more = {"secret": bytes(32), "alg": ALG, "usage": USAGE} if enrol is enrol_user else {}
    with pytest.raises(Exception, match="this enrolment file is for a broker"):
        enrol(scene.invite("broker", "b2"), suites.generate(1), os.urandom, scene.tick, **more)


def test_signed_is_its_own_fields_and_signature():
    keys = suites.generate(1)
    m = M1(bytes(16), bytes(16), bytes(32))
    assert unpack(Signed, signed(keys, "v1", m), "").inner == pack(m)
