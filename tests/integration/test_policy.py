"""The policy over the real processes: levels on one card, diff, apply, refusals, and what survives a killed guard."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.integration.cipher_machine import running
from vecd.base.errors import VecError

HEAD = "schema = 1\n[model]\nlevels = 5\n" + "".join(f'[[card]]\nname = "{one}"\n' for one in ("c0", "c1"))


def guest(name: str, level: int, rights: str = "rac") -> str:
    text = f'[[guest]]\nname = "{name}"\nlevel = {level}\n[[instance]]\nname = "{name}.1"\nowner = "{name}"\n'
    text += f'[[allow]]\nsubject = "{name}"\nobject = "{name}.*"\nrights = "rac"\n'
    return text + (f'[[allow]]\nsubject = "{name}.1"\nobject = "c0"\nrights = "{rights}"\n' if rights else "")


TWO = HEAD + guest("ann", 3) + guest("ben", 4)


@pytest.fixture(scope="module")
def machine():
    with running("c0", "c1", policy=TWO) as whole:
        yield whole


@pytest.fixture(scope="module")
def guests(machine):
    return machine.add("ann"), machine.add("ben")


def test_two_guests_at_two_levels_encrypt_on_one_card(machine, vecctl, guests):
    shown = vecctl("access", "show")[1]
    assert shown["p"] == 5
    # The policy of the first start is on record.
    version = vecctl("status")[1]["policy"]["applied"]
    events = [one for one in vecctl("log", "show", "-n", "1000")[1]["records"] if one.get("event") == "POLICY_APPLIED"]
    assert [one["fields"]["version"] for one in events] == [version] and "at the start" in events[0]["fields"]["what"]
    assert {key: shown["levels"][key] for key in ("ann", "ann.1", "ben", "ben.1")} == {
        "ann": 3,
        "ann.1": 3,
        "ben": 4,
        "ben.1": 4,
    }
    with guests[0].connect() as ann, guests[1].connect() as ben:
        keys = ann.load_key(guests[0].key), ben.load_key(guests[1].key)
        for size in (1, 100, 70_000):
            sealed = ann.encrypt(keys[0], b"a" * size), ben.encrypt(keys[1], b"b" * size)
            assert ann.decrypt(keys[0], sealed[0]) == b"a" * size
            assert ben.decrypt(keys[1], sealed[1]) == b"b" * size
        assert vecctl("card", "show", "c0")[1]["card"]["quarantined"] is None
        # The state that the guard makes of what it sees stays secure: it would take the card out of service.
        os.kill(machine.pids("guard")[0], signal.SIGKILL)
        assert ann.decrypt(keys[0], sealed[0]) == b"a" * size and ben.decrypt(keys[1], sealed[1]) == b"b" * size
    machine.wait_for(lambda: vecctl("status")[1].get("alarms") == [], 10, "no alarm")
    assert vecctl("access", "show")[1]["levels"]["ben.1"] == 4


def test_apply_takes_a_right_in_mid_session_and_the_others_go_on(machine, vecctl, guests):
    with guests[0].connect() as ann, guests[1].connect() as ben:
        keys = ann.load_key(guests[0].key), ben.load_key(guests[1].key)
        sealed = ann.encrypt(keys[0], b"kept")
        machine.write_policy(HEAD + guest("ann", 3) + guest("ben", 4, ""))
        assert any("policy diff" in alarm for alarm in vecctl("status")[1]["alarms"])
        code, asked = vecctl("policy", "diff")
        assert code == 0 and asked["possible"] and asked["counts"] == {"R10": 3}
        code, tried = vecctl("policy", "apply", "--dry-run")
        assert code == 0 and tried["requests"] == asked["requests"] and tried["dry_run"]
        assert ben.decrypt(keys[1], ben.encrypt(keys[1], b"still")) == b"still"
        # Off a terminal it is asked for, since keys are destroyed.
        assert vecctl("policy", "apply")[0] == 2
        code, done = vecctl("policy", "apply", "--yes")
        assert (code, done["notes"], done["counts"]) == (0, [], {"R10": 3})
        with pytest.raises(VecError):
            ben.encrypt(keys[1], b"after")
        assert ann.decrypt(keys[0], sealed) == b"kept"
    assert vecctl("status")[1]["alarms"] == []
    with pytest.raises(VecError):
        guests[1].connect()
    code, refused = vecctl("access", "give", "ben.1", "c0", "c")
    assert code == 5 and refused["error"]["rule"] == "policy" and "10-test.toml:" in refused["error"]["message"]
    machine.write_policy(TWO)
    assert vecctl("policy", "apply", "--yes")[1]["counts"] == {"R9": 3}
    with guests[1].connect() as ben:
        key = ben.load_key(guests[1].key)
        assert ben.decrypt(key, ben.encrypt(key, b"again")) == b"again"


def test_what_is_refused_leaves_everything_as_it_was(machine, vecctl, guests):
    before = vecctl("status")[1]["policy"]["applied"]
    with guests[0].connect() as ann:
        key = ann.load_key(guests[0].key)
        held = vecctl("access", "show")[1]["cells"]
        for text, code, words in (
            (HEAD + "[[gest]]\n", 2, "10-test.toml:8: the table 'gest' is not known"),
            (HEAD + guest("ann", 4) + guest("ben", 4), 5, "user ann may take L3 for its life"),
            (TWO.replace("levels = 5", "levels = 6"), 5, "the guard runs with 5 levels"),
            (TWO.replace('rights = "rac"', 'rights = "ra"'), 5, "lacks c"),
        ):
            machine.write_policy(text)
            for words_typed in (("policy", "apply", "--yes"), ("policy", "apply", "--dry-run")):
                got, said = vecctl(*words_typed)
                assert got == code and words in said["error"]["reason"], said
                assert "nothing was changed" in said["error"]["hint"]
            assert vecctl("policy", "check")[0] == (code if code == 2 or "lacks c" in words else 0)
            assert vecctl("access", "show")[1]["cells"] == held
            assert ann.decrypt(key, ann.encrypt(key, b"on")) == b"on"
    machine.write_policy(TWO)
    assert vecctl("status")[1]["policy"] == {"applied": before, "differs": False}


def test_a_guest_with_two_instances_has_each_on_its_own_card(machine, vecctl, guests):
    rows = HEAD + '[[guest]]\nname = "cy"\nlevel = 4\n'
    for own, card in (("low", "c0"), ("more", "c1")):
        rows += f'[[instance]]\nname = "cy.{own}"\nowner = "cy"\nweight = 7\n'
        rows += f'[[allow]]\nsubject = "cy.{own}"\nobject = "{card}"\nrights = "rac"\n'
    rows += '[[allow]]\nsubject = "cy"\nobject = "cy.*"\nrights = "rac"\n'
    machine.write_policy(rows + guest("ann", 3) + guest("ben", 4))
    assert vecctl("policy", "apply", "--yes")[1]["counts"] == {}
    cy = machine.add("cy")
    (shown,) = [one for one in vecctl("guest", "list")[1]["guests"] if one["name"] == "cy"]
    assert [(one["name"], one["cards"]) for one in shown["instances"]] == [("cy.low", ["c0"]), ("cy.more", ["c1"])]
    for card in ("c0", "c1"):
        with cy.connect(card=card) as session:
            key = session.load_key(cy.key)
            assert session.decrypt(key, session.encrypt(key, card.encode())) == card.encode()
    assert vecctl("guest", "remove", "cy", "--yes")[0] == 0
    machine.write_policy(TWO)
    assert vecctl("policy", "apply", "--yes")[1]["counts"] == {}


def test_a_killed_guard_brings_nothing_back_that_was_rescinded(machine, vecctl, guests):
    assert vecctl("access", "rescind", "ann.1", "c0", "r")[0] == 0
    for _ in range(2):
        os.kill(machine.pids("guard")[0], signal.SIGKILL)
        machine.wait_for(lambda: machine.pids("guard") and machine.status(), 10, "the guard is back")
        (row,) = vecctl("policy", "diff")[1]["requests"]
        assert (row["rule"], row["subject"], row["object"], row["attribute"]) == ("R9", "ann.1", "c0", "r")
        with guests[0].connect() as ann, pytest.raises(VecError) as caught:
            ann.encrypt(ann.load_key(guests[0].key), b"x")
        assert caught.value.rule == "R4"
    assert vecctl("policy", "apply", "--yes")[1]["counts"] == {"R9": 1}
    with guests[0].connect() as ann:
        key = ann.load_key(guests[0].key)
        assert ann.decrypt(key, ann.encrypt(key, b"x")) == b"x"


def test_a_first_start_with_a_wrong_policy_is_78_with_file_and_line():
    folder = Path(tempfile.mkdtemp(prefix="vecd-"))
    try:
        folder.chmod(0o755)
        files = folder / "m/etc/vecd/policy.d"
        files.mkdir(parents=True)
        (files / "10-test.toml").write_text(HEAD + guest("ann", 7))
        command = [sys.executable, "-m", "vecd", "dev", "--dir", str(folder / "m"), "--once"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 78
        assert "10-test.toml:10: " in ended.stderr and "must be allowed some of the levels [3, 4]" in ended.stderr
    finally:
        shutil.rmtree(folder)
