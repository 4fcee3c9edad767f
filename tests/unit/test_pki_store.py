"""The register on disk: its schema forbids what must never be; a full disk or a SIGKILL leaves nothing half done."""

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from vecd.base.errors import ConfigError, Exhausted, Failed, Malformed, ProtocolRefused, Unknown
from vecd.pki import store as store_module
from vecd.pki.store import Store
from vecd.protocol.authority import SessionRow
from vecd.protocol.messages import Certificate

from .protocol_scene import Scene
from .protocol_world import NOW, World


@pytest.fixture
def path(tmp_path):
    return tmp_path / "register.db"


def party(t, name="A", role="user"):
    id = os.urandom(16)
    t.add_party(role, name, id)
    return id


def certificate(id, serial, key=b"\1" + bytes(32)):
    return Certificate("user", id, bytes(16), key, key, bytes(32), serial, NOW, NOW + 100)


# ---- what the schema forbids ---------------------------------------------------------------------------------------


def test_two_valid_certificates_for_one_id_cannot_be_written(path):
    store = Store(path)
    with store.transaction() as t:
        id = party(t)
        t.certify(certificate(id, t.next_serial()), b"")
        t.certify(certificate(id, t.next_serial()), b"")
    with pytest.raises(Failed, match="UNIQUE"), store.transaction() as t:
        t._db.execute("UPDATE certificates SET state = 'valid'")
    rows = store._db.execute("SELECT serial, state FROM certificates ORDER BY serial").fetchall()
    assert rows == [(1, "replaced"), (2, "valid")]


def test_a_refused_transaction_leaves_nothing(path):
    store = Store(path)
    with pytest.raises(ZeroDivisionError), store.transaction() as t:
        party(t)
        t.next_serial()
        _ = 1 // 0
    with store.transaction() as t:
        assert t.parties(NOW) == [] and t.next_serial() == 1


def test_numbers_are_given_once_also_after_a_restart(path):
    numbers = []
    for _ in range(3):
        store = Store(path)
        with store.transaction() as t:
            numbers += [t.next_key_number(), t.next_key_number()]
        store.close()
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_a_counter_at_its_end_gives_nothing(path):
    store = Store(path)
    with store.transaction() as t:
        t._db.execute("UPDATE counters SET next = ?", (2**63 - 1,))
    with pytest.raises((Exhausted, Failed)), store.transaction() as t:
        t.next_key_number()


def test_a_session_is_remembered_until_it_expires(path):
    store = Store(path)
    row = SessionRow(bytes(16), bytes(16), 1, 2, NOW + 300, False)
    with store.transaction() as t:
        t.add_session(b"s" * 32, row)
        t.use_session(b"s" * 32)
        t.prune_sessions(NOW + 299)
        assert t.session(b"s" * 32).used
        t.prune_sessions(NOW + 300)
        assert t.session(b"s" * 32) is None
    with pytest.raises(Failed), store.transaction() as t:
        t.add_session(b"t" * 32, row)
        t.add_session(b"t" * 32, row)


# ---- nonces --------------------------------------------------------------------------------------------------------


def test_a_nonce_is_spent_per_party(path):
    with Store(path).transaction() as t:
        a, b = party(t, "A"), party(t, "B")
        assert t.spend_nonce(a, b"n" * 32) and t.spend_nonce(b, b"n" * 32)
        assert not t.spend_nonce(a, b"n" * 32)


def test_nonces_outlive_their_certificate_as_long_as_its_key_may_come_back(path):
    with Store(path).transaction() as t:
        a = party(t)
        t.certify(certificate(a, 1), b"")
        assert t.spend_nonce(a, b"n" * 32)
        t.revoke(a)
        assert not t.spend_nonce(a, b"n" * 32)
        # The same signature key again: what it signed before verifies again.
        t.certify(certificate(a, 2), b"")
        assert not t.spend_nonce(a, b"n" * 32)
        t.certify(certificate(a, 3, b"\1" + bytes(31) + b"\1"), b"")
        assert t._db.execute("SELECT count(*) FROM nonces").fetchone() == (0,)


def test_the_newest_nonces_of_a_party_are_kept(path, monkeypatch):
    monkeypatch.setattr(store_module, "NONCES_MAX", 10)
    with Store(path).transaction() as t:
        a, b = party(t, "A"), party(t, "B")
        assert t.spend_nonce(b, bytes(32))
        for n in range(50):
            assert t.spend_nonce(a, n.to_bytes(32, "little"))
        assert not t.spend_nonce(a, (49).to_bytes(32, "little"))
        assert not t.spend_nonce(a, (41).to_bytes(32, "little"))
        assert not t.spend_nonce(b, bytes(32))
        assert t._db.execute("SELECT count(*) FROM nonces WHERE id = ?", (a,)).fetchone()[0] <= 10


# ---- tokens --------------------------------------------------------------------------------------------------------


def test_no_token_stands_in_the_register_in_clear_and_none_at_all_after_use(path):
    w = World(1, path=path)
    invitation = w.invite("card", "c0")
    assert invitation.token not in _files(path)
    with w.store.transaction() as t:
        sealed = t.token(invitation.id).sealed
    w.enrol_card("c0", invitation=invitation)
    w.store.close()
    assert invitation.token not in _files(path) and sealed not in _files(path)


def _files(path):
    return b"".join(p.read_bytes() for p in Path(path).parent.iterdir())


@pytest.mark.parametrize(
    "role, name, more, error",
    [
        ("admin", "c0", {}, Malformed),
        ("card", "../c0", {}, ConfigError),
        ("card", "", {}, ConfigError),
        ("card", "c" * 33, {}, ConfigError),
        ("card", "c0", {"valid_s": 0}, Malformed),
        ("card", "c0", {"valid_s": 10**9}, Malformed),
        ("card", "c0", {"card": "c1"}, Malformed),
        ("user", "A", {"card": "c9"}, Unknown),
    ],
)
def test_a_bad_request_for_a_token_is_refused_by_name(role, name, more, error):
    w = World(1)
    with pytest.raises(error):
        w.invite(role, name, **more)
    assert [p.name for p in w.registrar.list(NOW)] == ["broker"]


def test_revoking_nobody_is_unknown():
    with pytest.raises(Unknown):
        World(1).registrar.revoke(os.urandom(16))


def test_the_list_says_who_is_what():
    s = Scene()
    s.invite("user", "B")
    s.registrar.revoke(s.e.identity.id)
    states = {p.name: (p.role, p.state) for p in s.registrar.list(NOW)}
    assert states["B"] == ("user", "invited")
    assert states["E"] == ("user", "revoked")
    assert states["C"] == ("card", "registered")
    assert {p.state for p in s.registrar.list(NOW + 400 * 86400)} == {"expired", "invited", "revoked"}


# ---- the file ------------------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(path):
    store = Store(path)
    with store.transaction() as t:
        party(t)
    assert {stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()} == {0o600}


def test_a_second_process_cannot_use_the_register(path):
    store = Store(path)
    with store.transaction() as t:
        party(t)
    code = f"from vecd.pki.store import Store; Store({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert "database is locked" in done.stderr


def test_a_register_of_another_version_or_no_register_is_not_opened(path):
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match="version 99"):
        Store(path)
    path.write_bytes(b"this is no database, by any reading of it" * 100)
    with pytest.raises(ConfigError, match="is damaged"):
        Store(path)


def test_a_register_that_is_gone_is_not_begun_anew_where_there_was_one(path):
    for _ in range(2):
        with pytest.raises(ConfigError, match="missing or empty"):
            Store(path, new=False)
    Store(path).close()
    Store(path, new=False).close()
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="missing or empty"):
        Store(path, new=False)


# ---- a full disk ---------------------------------------------------------------------------------------------------


def test_a_full_register_is_a_definite_error_and_nothing_is_half_done(path):
    w = World(1, path=path)
    pages = w.store._db.execute("PRAGMA page_count").fetchone()[0]
    w.store._db.execute(f"PRAGMA max_page_count={pages + 4}")
    before = w.registrar.list(NOW)
    with pytest.raises(Exhausted) as e:
        for n in range(1000):
            w.enrol_card(f"c{n}")
    assert "authority cannot write its register" in str(e.value)
    rows = w.registrar.list(NOW)
    assert len(rows) > len(before)
    # Each party has its certificate, or its token still.
    for row in rows:
        with w.store.transaction() as t:
            assert (row.state == "registered") != (t.token(row.id) is not None)
    w.store._db.execute(f"PRAGMA max_page_count={pages + 400}")
    w.enrol_card("after")


_QUOTA = """
import os, resource, sys
sys.path.insert(0, {root!r})
from tests.unit.protocol_world import World
from vecd.base.errors import Exhausted
w = World(1, path={path!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
n = 0
try:
    while True:
        w.enrol_card(f"c{{n}}")
        n += 1
except Exhausted as e:
    print(n, e, flush=True)
try:
    w.invite("card", "late")
except Exhausted as e:
    print("again", flush=True)
os._exit(0)
"""


def test_a_write_that_the_file_system_refuses_is_the_same_error(path):
    root = str(Path(__file__).parents[2])
    code = _QUOTA.format(root=root, path=str(path), limit=400_000)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "authority cannot write its register" in done.stdout, done.stderr
    enrolled = int(done.stdout.split()[0])
    with Store(path).transaction() as t:
        states = Counter(p.state for p in t.parties(NOW) if p.role == "card")
    # The last one may have been refused with its token or with its certificate; none is in between.
    assert states["registered"] == enrolled and states["invited"] <= 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 400_000


# ---- SIGKILL -------------------------------------------------------------------------------------------------------

_WORK = """
import os, sys
sys.path.insert(0, {root!r})
from tests.unit.protocol_world import *
from vecd.protocol import suites
from vecd.protocol.user import UserParty
keys = suites.PrivateKeys(bytes.fromhex({sign!r}), bytes.fromhex({seal!r}))
w = World.__new__(World)
w.now, w.tick, w.suite, w.profile, w.store, w.ca_keys = NOW, TICK, 1, Profile(), Store({path!r}), keys
w.authority = Authority(w.store, keys, os.urandom, w.profile)
w.registrar = Registrar(w.store, keys, os.urandom, w.profile)
w.ca = w.authority.who()
w.broker = BrokerParty(w.enrol_broker("broker"))
k = os.urandom(32)
print("ready", flush=True)
while True:
    user, card = UserParty(w.enrol_user("A", k), os.urandom), w.card("c0")
    for _ in range(3):
        print(w.load(user, card, k).number, flush=True)
"""


@pytest.mark.limit(180)
def test_a_killed_authority_has_at_most_one_valid_certificate_an_id_and_reuses_no_number(path):
    w = World(1, path=path)
    w.store.close()
    root = str(Path(__file__).parents[2])
    code = _WORK.format(root=root, sign=w.ca_keys.sign_seed.hex(), seal=w.ca_keys.seal_seed.hex(), path=str(path))
    given = []
    for round in range(12):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.03 + 0.017 * round)
        child.send_signal(signal.SIGKILL)
        out, _ = child.communicate(timeout=30)
        # The last line may be cut off in the middle.
        given += [int(line) for line in out.split("\n")[:-1]]
        store = Store(path)
        assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        most = store._db.execute(
            "SELECT max(n) FROM (SELECT count(*) n FROM certificates WHERE state = 'valid' GROUP BY id)"
        ).fetchone()
        assert most == (1,)
        (next_number,) = store._db.execute("SELECT next FROM counters WHERE name = 'key_number'").fetchone()
        assert next_number > max(given, default=0)
        store.close()
    assert len(given) > 20
    assert len(set(given)) == len(given)


def test_a_used_token_stays_used_over_a_restart(path):
    w = World(1, path=path)
    invitation = w.invite("card", "c0")
    w.enrol_card("c0", invitation=invitation)
    w.store.close()
    again = Store(path)
    w.authority._register = again
    with pytest.raises(ProtocolRefused, match="used already"):
        w.enrol_card("c0", invitation=invitation)
