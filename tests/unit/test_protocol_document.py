"""docs/protocol.md says what the code does: sizes, labels, limits, and the worked example byte for byte."""

import re
from pathlib import Path

import pytest

from vecd.pki import store
from vecd.pki.profile import Profile
from vecd.protocol import card, encoding, messages, suites
from vecd.protocol.identity import kcv_of
from vecd.protocol.messages import (
    M1,
    AttachTag,
    K7Context,
    K7Signed,
    KcvInput,
    pack,
    signed,
)

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "protocol.md").read_text()


def run(first, size):
    """The example's bytes that count up."""
    return bytes((first + n) & 0xFF for n in range(size))


ID_U, ID_C, INSTANCE = run(0x10, 16), run(0x20, 16), run(0xF0, 16)
N_U, N_C, SID, R_K, K, CK = (run(first, 32) for first in (0x30, 0x50, 0x70, 0x90, 0xB0, 0xD0))
ALG, USAGE = "AES-256-GCM", 3


def example():
    """name: bytes, of the last block."""
    block = TEXT.split("## Worked example")[1].split("```")[1]
    found, name = {}, ""
    for line in block.strip().splitlines():
        if line.startswith(" "):
            found[name] += line.strip()
        else:
            name = line.removesuffix(" =")
            found[name] = ""
    return {name: bytes.fromhex(text) for name, text in found.items()}


@pytest.fixture(scope="module")
def keys():
    user = suites.PrivateKeys(b"\1" + run(0, 32), b"\1" + run(0, 32))
    return user, suites.PrivateKeys(b"\1" + run(0, 32), b"\1" + run(0x40, 32))


def test_the_worked_example_is_what_the_code_makes(keys):
    user, to = keys
    e = example()
    m1 = M1(ID_U, ID_C, N_U)
    ctx = pack(K7Context(SID, ID_U, ID_C, N_U, N_C))
    ct = e["ct"]
    plaintext = encoding.enc(K, ALG.encode(), encoding.u32(USAGE), R_K)
    k7 = pack(K7Signed(SID, ID_U, ID_C, suites.h(ct)))
    made = {
        "m1 = enc(id_u, id_c, n_u)": pack(m1),
        'message 1 = enc(m1, SIG(u, "v1", id_u, id_c, n_u))': signed(user, "v1", m1),
        "enc(id_u, alg, usage, r_K)": pack(KcvInput(ID_U, ALG, USAGE, R_K)),
        "kcv": kcv_of(K, ID_U, ALG, USAGE, R_K),
        "plaintext of 7 = enc(K, alg, usage, r_K)": plaintext,
        "info of its SEAL": suites._info(1, "k7", ctx),
        "ct": ct,
        's7 = SIG(u, "k7", sid, id_u, id_c, h(ct))': suites.sign(user, "k7", k7),
        'MAC(ck, "attach", sid, i)': suites.mac(CK, "attach", pack(AttachTag(SID, INSTANCE))),
    }
    assert e == made
    assert suites.open_(to, "k7", ctx, ct) == plaintext


def test_the_keys_of_the_example_are_named_rightly(keys):
    user, to = keys
    assert f"01 {user.sign_key[1:5].hex()}...{user.sign_key[-2:].hex()}" in TEXT
    assert f"01 {to.seal_key[1:5].hex()}...{to.seal_key[-2:].hex()}" in TEXT


@pytest.mark.parametrize("suite", sorted(suites.SUITES))
def test_the_table_of_suites_is_the_codes(suite):
    (row,) = re.findall(
        rf"^\| {suite}(?:, the default)? \|.*$", TEXT.split("### Suites")[1].split("###")[0], re.MULTILINE
    )
    sign, seal, signature, overhead = [cell.strip() for cell in row.strip("|").split("|")][3:]
    scheme, kem = suites.SUITES[suite]
    assert sum(map(int, sign.split("+"))) == 1 + scheme.public
    assert sum(map(int, seal.split("+"))) == 1 + kem.public
    assert int(signature) == scheme.size
    assert sum(map(int, overhead.split("+"))) == 1 + kem.overhead
    assert ("the default" in row) == (suite == suites.DEFAULT_SUITE)


def test_every_label_in_the_code_is_in_the_document():
    text = "".join(path.read_text() for path in (ROOT / "vecd" / "protocol").glob("*.py"))
    used = set(re.findall(r'(?:signed|sign|seal|_seal|open_|_open|verified|opened|mac)\([^\n]*?"([a-z0-9]+)"', text))
    listed = set(re.findall(r"`([a-z0-9]+)`", TEXT.split("Labels:")[1].split("**kcv**")[0]))
    assert {"reg", "k7", "keyok", "kcv", "attach"} <= used
    assert used - listed - {"token"} == set()


@pytest.mark.parametrize(
    "words",
    [
        f"at most\n{encoding.MESSAGE_MAX} bytes in all",
        "5 s each; then the run is closed and a staged K zeroised" if messages.STATE_TIMEOUT_S == 5 else "no",
        f"At most {card.WAITING_MAX} runs wait on a card and {card.WAITING_PER_USER_MAX} of one\nuser",
        f"A user has at most {card.SESSIONS_PER_USER_MAX} sessions there",
        f"the newest {store.NONCES_MAX} are kept",
        f"exp - iat <= {messages.STATEMENT_MAX_S} s",
        f"{Profile().keys_per_user} registered keys",
        f"statements {Profile().statement_s} s",
        f"certificates {Profile().lifetime_s['card'] // 86400} days, from {Profile().backdate_s} s before",
    ],
)
def test_a_number_in_the_document_is_the_codes(words):
    assert words in TEXT


def test_every_attack_of_the_table_has_its_test():
    attacks = (ROOT / "tests/unit/test_protocol_attacks.py").read_text()
    table = TEXT.split("| what stops it here |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (L\d+) \|", table, re.MULTILINE)
    assert rows == [f"L{n}" for n in range(1, 13)]
    for row in rows:
        assert f"def test_{row}_" in attacks
