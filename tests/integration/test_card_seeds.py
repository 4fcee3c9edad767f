"""Where a card's identity stands: its seeds in the key arena, nowhere else, in no form; and what an operation leaves.

The memory of the processes is searched from outside, as root. docs/cards.md, "Where a key is" and "What is freed".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.integration import memory, seed_forms
from tests.integration.cipher_machine import CipherMachine, running
from tests.style.tree import ROOT
from vecd.base import heap
from vecd.protocol import suites
from vecd.services import enrolment
from vecd.services.card_parts import identity as card_identity

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="condition not met: needs root, since no process of ours lets its own user read its memory",
)

LOCKED = {"lo", "dd", "dc"}
READ_AT_LEAST = 10 << 20


@pytest.fixture(scope="module", params=["vecd", "tests.integration.without_memfd_secret"])
def machine(request: pytest.FixtureRequest) -> Iterator[CipherMachine]:
    """With memfd_secret nobody can look into the arena, the test included; without it the test can."""
    with running("c0", module=request.param) as made:
        yield made


def stands(pid: int, wanted: dict[str, bytes]) -> memory.Search:
    return memory.search(pid, *(needle for form in wanted.values() for needle in seed_forms.needles(form)))


def names(pid: int, wanted: dict[str, bytes]) -> list[str]:
    """Which forms stand in the process; for the message of an assertion that failed."""
    return [name for name, form in wanted.items() if memory.search(pid, *seed_forms.needles(form)).found]


def seeds_of(machine: CipherMachine) -> bytes:
    return (machine.paths.state_of("card", "c0") / card_identity.NAME).read_bytes()


def in_the_arena_alone(machine: CipherMachine) -> None:
    seeds = seeds_of(machine)
    (card_pid,) = machine.pids("card", "c0")
    found = stands(card_pid, seed_forms.forms(seeds))
    assert found.read > READ_AT_LEAST
    assert all(mapping.flags >= LOCKED for mapping in found.found), names(card_pid, seed_forms.forms(seeds))
    # One mapping, where the kernel lets root look into it: so the search does find what is there.
    plain = "without" in machine.module
    assert len(found.found) == plain
    if not plain:
        assert any(mapping.flags >= LOCKED for mapping in found.closed)
    for role in ("guard", "broker", "authority", "dev"):
        for pid in machine.pids(role):
            assert not stands(pid, seed_forms.forms(seeds)).found, role


def test_after_enrolment_the_seeds_are_in_the_arena_alone(machine: CipherMachine) -> None:
    in_the_arena_alone(machine)


def test_after_keys_were_loaded_they_still_are(machine: CipherMachine) -> None:
    guest = machine.add("A")
    for _ in range(3):
        with guest.connect() as card:
            key = card.load_key(guest.key)
            assert card.decrypt(key, card.encrypt(key, b"some data")) == b"some data"
    in_the_arena_alone(machine)


def test_after_refused_messages_they_still_are(machine: CipherMachine) -> None:
    """An exception keeps its frames; none of them may keep a key."""
    guest = machine.add("R")
    with guest.connect(retry=False) as card:
        machine.admin("access.rescind", subject="R.1", object="c0", attribute="a")
        for _ in range(3):
            with pytest.raises(Exception, match="R2"):
                card.load_key(guest.key)
    in_the_arena_alone(machine)


def test_a_card_that_starts_again_reads_them_into_the_arena_alone(machine: CipherMachine) -> None:
    (pid,) = machine.pids("card", "c0")
    before = seeds_of(machine)
    os.kill(pid, 9)
    machine.wait_for(lambda: (new := machine.pids("card", "c0")) and new != [pid], 10.0, "another card process")
    machine.wait_ready()
    assert seeds_of(machine) == before
    guest = machine.add("S")
    with guest.connect() as card:
        card.load_key(guest.key)
    in_the_arena_alone(machine)


def test_the_files_are_private_and_the_json_has_no_secret(machine: CipherMachine) -> None:
    directory = machine.paths.state_of("card", "c0")
    assert stat.S_IMODE((directory / card_identity.NAME).stat().st_mode) == 0o600
    text = (directory / enrolment.NAME).read_text()
    assert "keys" not in json.loads(text)
    for name, form in seed_forms.forms(seeds_of(machine)).items():
        assert form.hex() not in text and form.hex() not in machine.log, name


# ---- what one operation leaves -------------------------------------------------------------------------------------

_CARD = """
import sys
from vecd.cards.soft import SoftCard
card = SoftCard()
from vecd.protocol import suites
from vecd.services.card_parts.identity import ArenaSeeds
seeds = bytearray({size})
with open(0, "rb", buffering=0, closefd=False) as given:
    given.readinto(seeds)
    keys = suites.LentKeys(ArenaSeeds(card, seeds))
    for blob in open({blobs!r}).read().split():
        assert len(suites.open_(keys, "k7", b"", bytes.fromhex(blob))) == 40
        suites.sign(keys, "k8", b"body")
    print("done", flush=True)
    given.read(1)
"""


def hpke_secrets(seeds: bytes, blob: bytes, info: bytes) -> dict[str, bytes]:
    """Whoever has one of these and the blob has its plaintext. RFC 9180, 5.1; X-Wing, 5.4."""
    first = mlkem.MLKEM768PrivateKey.from_seed_bytes(seeds[33:97])
    second = x25519.X25519PrivateKey.from_private_bytes(seeds[97:])
    sealed, point, ciphertext = blob[1:1089], blob[1089:1121], blob[1121:]
    ss_m, ss_x = first.decapsulate(sealed), second.exchange(x25519.X25519PublicKey.from_public_bytes(point))
    own = second.public_key().public_bytes_raw()
    shared = hashlib.sha3_256(ss_m + ss_x + point + own + rb"\.//^\ "[:6]).digest()
    suite_id = b"HPKE\x64\x7a\0\1\0\2"

    def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite_id + label + material, "sha256")

    secret = extract(shared, b"secret", b"")
    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)

    def expand(label: bytes, size: int) -> bytes:
        labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + context + b"\1"
        return hmac.digest(secret, labelled, "sha256")[:size]

    key, nonce = expand(b"key", 32), expand(b"base_nonce", 12)
    assert len(AESGCM(key).decrypt(nonce, ciphertext, b"")) == 40
    names = ("ML-KEM's secret", "X25519's secret", "shared secret", "secret", "AEAD key")
    return dict(zip(names, (ss_m, ss_x, shared, secret, key), strict=True))


def what_operations_leave(tmp_path, environment: dict[str, str]) -> list[str]:
    """The secrets of eight sealed messages that stand in a card process which has opened them, and its seeds."""
    seeds = suites.draw_seeds()
    seal_key = suites.PrivateKeys(bytes(seeds[:33]), bytes(seeds[:1] + seeds[33:])).seal_key
    blobs = [suites.seal(seal_key, "k7", b"", os.urandom(40)) for _ in range(8)]
    (tmp_path / "blobs").write_text("\n".join(blob.hex() for blob in blobs))
    code = _CARD.format(size=len(seeds), blobs=str(tmp_path / "blobs"))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environment},
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(seeds)
        child.stdin.flush()
        assert child.stdout.readline() == b"done\n"
        wanted = seed_forms.forms(bytes(seeds))
        for number, blob in enumerate(blobs):
            for name, form in hpke_secrets(bytes(seeds), blob, suites._info(2, "k7", b"")).items():
                wanted[f"{name} of {number}"] = form
        left = [
            name
            for name, form in wanted.items()
            for mapping in memory.search(child.pid, *seed_forms.needles(form)).found
            if not mapping.flags >= LOCKED
        ]
        child.stdin.close()
    assert child.returncode == 0
    return left


def test_an_operation_leaves_nothing_by_which_a_recorded_message_could_be_opened(tmp_path) -> None:
    assert what_operations_leave(tmp_path, heap.environment()) == []


def test_without_the_settings_of_the_heap_it_would(tmp_path) -> None:
    """Why a card process is started as base/heap.py says, and that the search above can find something."""
    assert any("secret" in name for name in what_operations_leave(tmp_path, {}))
