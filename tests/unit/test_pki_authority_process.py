"""The authority as a process: its doors, its files, and what it says when something is wrong."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vecd.base import ipc
from vecd.base.errors import EXIT_CONFIG, Caller, Malformed, ProtocolRefused
from vecd.base.paths import Paths
from vecd.control import calls
from vecd.pki.profile import Profile
from vecd.pki.store import Store
from vecd.protocol import suites
from vecd.protocol.broker import BrokerParty, registration2
from vecd.protocol.identity import Invitation
from vecd.protocol.registration import enrol_broker, enrol_card, enrol_user
from vecd.services import authority as service

ROOT = Path(__file__).parents[2]


class Process:
    """One authority below a directory of its own."""

    def __init__(self, root):
        self.paths = Paths(root)
        self.child = None

    def start(self):
        ready = self.paths.root / "notify"
        import socket

        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(str(ready))
        manager.settimeout(20)
        self.child = subprocess.Popen(
            [sys.executable, "-m", "vecd", "authority", "--dir", str(self.paths.root)],
            cwd=ROOT,
            env=os.environ | {"NOTIFY_SOCKET": str(ready)},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert b"READY=1" in manager.recv(4096)
        finally:
            manager.close()
            ready.unlink()
        return self

    def stop(self, number=signal.SIGTERM):
        self.child.send_signal(number)
        _, self.log = self.child.communicate(timeout=20)
        return self.child.returncode

    def peer(self, door, side):
        path = self.paths.ca if door == "ca" else self.paths.ca_admin
        return ipc.BlockingPeer(path, table=calls.door(door, side))

    def admin(self, call, **args):
        with _closing(self.peer("ca-admin", "vecctl")) as peer:
            return peer.call(call, args)

    def invite(self, role, name, **more):
        answer = self.admin("token.new", role=role, name=name, **more)
        hexed = {k: v.hex() if isinstance(v, bytes) else v for k, v in answer.items()}
        return Invitation.from_json(json.dumps(hexed), role=role, name=name)


class _closing:
    def __init__(self, peer):
        self.peer = peer

    def __enter__(self):
        return self.peer

    def __exit__(self, *_):
        self.peer.close()


@pytest.fixture
def process(tmp_path):
    p = Process(tmp_path).start()
    yield p
    if p.child.poll() is None:
        p.stop()


def _enrol(process):
    """A broker, a card and a user, over the door ca."""
    now, tick = int(time.time()), time.monotonic()
    with _closing(process.peer("ca", "broker")) as ca:
        keys = suites.generate()
        i = process.invite("broker", "broker")
        e = enrol_broker(i, keys, os.urandom, tick)
        message2 = registration2(i.id, keys, i.ca, e.message)
        broker = BrokerParty(e.accept(ca.call("ca.register", {"body": message2})["body"], now, tick))
        i = process.invite("card", "c0")
        e = enrol_card(i, suites.generate(), os.urandom, tick)
        body = ca.call("ca.register", {"body": broker.relay_registration(e.message, "card", i.id)})["body"]
        card = e.accept(broker.check_certificate(body, i.id), now, tick)
        i = process.invite("user", "A", card="c0")
        assert i.card_id == card.id
        e = enrol_user(i, suites.generate(), os.urandom, tick, secret=bytes(32), alg="AES-256-GCM", usage=3)
        message2 = broker.relay_registration(e.message, "user", i.id)
        user = e.accept(ca.call("ca.register", {"body": message2})["body"], now, tick)
        with pytest.raises(ProtocolRefused) as refusal:
            ca.call("ca.register", {"body": message2})
        assert (refusal.value.rule, refusal.value.reason) == ("registration 2", "the token was used already")
        with pytest.raises(ProtocolRefused) as refusal:
            ca.call("ca.verify", {"body": b"rubbish"})
        assert refusal.value.rule == "message 3"
        with pytest.raises(Malformed):
            ca.call("ca.verify", {})
        who = ca.call("ca.who")
        assert (who["sign_key"], who["seal_key"]) == (user.ca.sign_key, user.ca.seal_key)
    return broker, card, user


def test_parties_enrol_over_its_doors_and_are_remembered(process):
    _, card, user = _enrol(process)
    parties = {p["name"]: p for p in process.admin("register.list")["parties"]}
    assert parties["A"]["state"] == "registered" and parties["A"]["id"] == user.id.hex()
    assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    process.start()
    again = {p["name"]: p for p in process.admin("register.list")["parties"]}
    assert again == parties
    process.admin("register.revoke", id=card.id)
    parties = {p["name"]: p for p in process.admin("register.list")["parties"]}
    assert parties["c0"]["state"] == "revoked"
    assert process.stop() == 0
    for secret in (user.keys.seal_seed, card.keys.sign_seed):
        assert secret.hex() not in process.log


def test_each_door_has_its_own_calls(process):
    with _closing(process.peer("ca", "broker")) as ca:
        with pytest.raises(Malformed):
            ca.call("token.new", {"role": "card", "name": "c9"})
    raw = ipc.BlockingPeer(process.paths.ca)
    with _closing(raw), pytest.raises(Malformed):
        raw.call("token.new", {"role": "card", "name": "c9"})
    assert process.admin("register.list")["parties"] == []


def test_its_files_are_its_own_and_the_public_keys_everybodys(process):
    state = process.paths.state_of("authority")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in state.iterdir()} == {0o600}
    public = process.paths.ca.with_name(service.PUBLIC_FILE)
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    invitation = process.invite("card", "c0")
    document = json.loads(public.read_text())
    assert document["sign_key"] == invitation.ca.sign_key.hex()
    assert document["seal_key"] == invitation.ca.seal_key.hex()


def test_a_register_without_its_keys_is_not_served(process):
    process.invite("card", "c0")
    process.stop()
    (process.paths.state_of("authority") / service.KEY_FILE).unlink()
    child = subprocess.run(
        [sys.executable, "-m", "vecd", "authority", "--dir", str(process.paths.root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert child.returncode == EXIT_CONFIG
    assert "is missing, but there is a register" in child.stderr


def test_keys_without_their_register_are_not_served(process):
    process.invite("card", "c0")
    process.stop()
    for file in process.paths.state_of("authority").glob(f"{service.REGISTER_FILE}*"):
        file.unlink()
    for _ in range(2):
        child = subprocess.run(
            [sys.executable, "-m", "vecd", "authority", "--dir", str(process.paths.root)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert child.returncode == EXIT_CONFIG
        assert "missing or empty, but there are the keys" in child.stderr


def test_a_start_that_was_killed_between_register_and_keys_is_made_again(tmp_path):
    Store(tmp_path / service.REGISTER_FILE).close()
    keys, store = service.open_state(tmp_path)
    store.close()
    again, store = service.open_state(tmp_path)
    store.close()
    assert again == keys


def test_a_damaged_or_open_key_file_is_refused_without_quoting_it(tmp_path):
    keys = service.load_keys(tmp_path)
    assert service.load_keys(tmp_path) == keys
    path = tmp_path / service.KEY_FILE
    text = path.read_text()
    path.write_text(text[:-20])
    with pytest.raises(Exception, match="is not the authority's key file") as e:
        service.load_keys(tmp_path)
    assert keys.sign_seed.hex() not in str(e.value)
    path.write_text(text)
    path.chmod(0o640)
    with pytest.raises(Exception, match="others may read"):
        service.load_keys(tmp_path)


def test_a_stranger_is_not_admitted():
    class Peer:
        uid, gid, groups = 4242, 4242, frozenset({4242, 4300})

    admit = service.admits("ca", frozenset({0, 17}))
    with pytest.raises(Caller):
        admit(Peer)
    service.admits("ca-admin", frozenset({0}), 4300)(Peer)
    with pytest.raises(Caller):
        service.admits("ca-admin", frozenset({0}), 4301)(Peer)
    Peer.uid = 17
    admit(Peer)


def test_the_profile_is_the_configurations():
    from vecd.base.config import Config

    profile = service.profile_of(Config())
    assert profile == Profile(lifetime_s=dict.fromkeys(("user", "card", "broker"), 365 * 86400))


def test_a_slow_register_does_not_stop_the_doors(tmp_path):
    """Calls wait for the register in their own thread; the loop goes on."""

    class Slow:
        def who(self):
            time.sleep(0.3)
            return service.CaKeys(b"", b"")

    async def run():
        doors = service.Doors(Slow(), None)
        call = asyncio.create_task(doors.handle(None, "ca.who", {}, []))
        ticks = 0
        while not call.done():
            await asyncio.sleep(0.01)
            ticks += 1
        doors.close()
        return ticks

    assert asyncio.run(run()) > 5
