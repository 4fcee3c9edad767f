"""A guest written from the documents does everything a guest does, and works with one made of vecd.guest."""

import ast
import dataclasses
import hashlib
import secrets
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vecd.guest import Card
from vecd.guest import Sealed as TheirSealed
from vecd.guest import enrol as their_enrol

from . import documents, files, registration, session
from .client import Client
from .control import Control, ControlRefused
from .data import Data, DataRefused, Sealed
from .encoding import Refused, dec, enc, h, kcv, mac, seal_info, u32
from .frames import HELLO, KEY, KEYREV, LOAD, REGISTER, VERIFY, Frame
from .hpke import SUITES, Keys, seal, verifies
from .registration import Enrolment, Identity, Record

ALGS = {"AES-128-GCM": 16, "AES-256-GCM": 32, "AES-128-CTR": 16, "AES-256-CTR": 32}
PARTS = [b"first", b"", bytes(70000), b"x" * 33, b""]
TEXT = b"".join(PARTS)


def opened(alg, key, sealed, aad=b""):
    """The plaintext by the same cipher in this process."""
    if alg.endswith("GCM"):
        return AESGCM(key).decrypt(sealed.iv, sealed.text + sealed.tag, aad)
    return Cipher(algorithms.AES(key), modes.CTR(sealed.iv)).decryptor().update(sealed.text)


def refusal(call, *args):
    """The control refusal that the call ends in."""
    with pytest.raises(ControlRefused) as refused:
        call(*args)
    return refused.value


def check_of(call, *args):
    """The number of this guest's own check that refuses."""
    with pytest.raises(Refused) as refused:
        call(*args)
    return refused.value.check


# ---- the documents alone -----------------------------------------------------------------------------------------


def test_the_client_imports_nothing_of_vecd():
    here = Path(__file__).parent
    for path in here.glob("*.py"):
        if path.name.startswith(("test_", "conftest")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not any(name.split(".")[0] in ("vecd", "tests") for name in names), (path.name, names)


def test_the_examples_of_the_wire_are_frames():
    examples = documents.wire_examples()
    assert len(examples) == 7
    assert all(Frame.unpack(example).pack() == example for example in examples)
    assert Frame.unpack(examples[-1]) == Frame(HELLO, request=1)


def test_the_worked_example_is_worked_here_too():
    at = {name: bytes(range(start, end + 1)) for name, start, end in (
        ("id_u", 0x10, 0x1F), ("id_c", 0x20, 0x2F), ("n_u", 0x30, 0x4F), ("n_c", 0x50, 0x6F), ("sid", 0x70, 0x8F),
        ("r_K", 0x90, 0xAF), ("K", 0xB0, 0xCF), ("ck", 0xD0, 0xEF), ("i", 0xF0, 0xFF), ("seed", 0, 0x1F),
        ("card", 0x40, 0x5F),
    )}  # fmt: skip
    alg, usage = "AES-256-GCM", 3
    user, card = Keys(b"\1" + at["seed"], b"\1" + at["card"]), Keys(b"\1" + at["seed"], b"\1" + at["card"])
    names = (at["sid"], at["id_u"], at["id_c"])
    context = (*names, at["n_u"], at["n_c"])
    me = Identity(at["id_u"], user, b"", b"", b"")
    assert session.message_1(me, at["id_c"], at["n_u"]) == documents.worked("message 1")
    assert kcv(at["K"], at["id_u"], alg, usage, at["r_K"]) == documents.worked("kcv")
    assert seal_info(1, "k7", context) == documents.worked("info of its SEAL")
    ct = documents.worked("ct")
    plain = card.open("7.5", "k7", context, ct)
    assert plain == documents.worked("plaintext of 7") == enc(at["K"], alg.encode(), u32(usage), at["r_K"])
    assert user.sign("k7", *names, h(ct)) == documents.worked("s7")
    assert mac(at["ck"], "attach", at["sid"], at["i"]) == documents.worked("MAC(ck")


@pytest.mark.parametrize("suite", SUITES)
def test_the_sizes_are_those_of_the_table(suite):
    signs, seals, longer = {1: (33, 33, 49), 2: (33, 1217, 1137), 3: (66, 66, 82)}[suite]
    keys = Keys.new(suite)
    assert (len(keys.pk_s), len(keys.pk_e)) == (signs, seals)
    assert len(seal(keys.pk_e, "k7", (b"c",), b"text")) == 4 + longer
    assert len(keys.sign("k7", b"c")) == 64 and verifies(keys.pk_s, keys.sign("k7", b"c"), "k7", b"c")
    assert not verifies(keys.pk_s, keys.sign("k7", b"c"), "k8", b"c")


# ---- registration, verification, key loading ---------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_a_guest_of_each_suite_goes_the_whole_way(enrol, suite):
    one = enrol(suite=suite)
    with one.client() as client:
        number = client.load(one.key)
        data = client.attach()
        assert data.null(b"the same") == b"the same"
        assert data.decrypt(number, data.encrypt(number, b"text", b"head"), b"head") == b"text"
        client.release()
        assert data.line.ended()


def test_a_certificate_is_checked(machine):
    guest = machine.add("certificate", enrolled=False)
    enrolment, keys, nonce = Enrolment.read(guest.enrolment), Keys.new(2), bytes(range(32))
    record = Record.of(guest.key, enrolment.id, "", "AES-256-GCM", 3)
    control = Control(guest.address)
    body = control.ask(REGISTER, registration.message_1(enrolment, keys, nonce, record))
    assert registration.message_4(body, enrolment, keys, nonce)
    stranger = dataclasses.replace(enrolment, ca_sign=Keys.new(2).pk_s)
    assert check_of(registration.message_4, body, dataclasses.replace(enrolment, id=bytes(16)), keys, nonce) == "R4.1"
    assert check_of(registration.message_4, body, enrolment, keys, bytes(32)) == "R4.2"
    assert check_of(registration.message_4, body, enrolment, Keys.new(2), nonce) == "R4.2"
    assert check_of(registration.message_4, body, stranger, keys, nonce) == "R4.3"
    other = Keys(Keys.new(2).sign_seed, keys.seal_seed)
    assert check_of(registration.message_4, body, enrolment, other, nonce) == "R4.7"
    again = refusal(control.ask, REGISTER, registration.message_1(enrolment, keys, nonce, record))
    assert (again.status, again.rule) == (documents.STATUS["EPROTOCOL"], "registration 2")
    control.close()


def test_v_is_checked(enrol):
    one = enrol()
    with one.client() as client:
        me, n_u = one.identity, secrets.token_bytes(32)
        body = client.control.ask(VERIFY, session.message_1(me, client.id_c, n_u))
        stranger = dataclasses.replace(me, ca_sign=Keys.new(2).pk_s)
        assert check_of(session.message_6, body, dataclasses.replace(me, id=bytes(16)), client.id_c, n_u) == "6.1"
        assert check_of(session.message_6, enc(me.id, body[-2000:]), me, client.id_c, n_u) == "6.2"
        assert check_of(session.message_6, body, stranger, client.id_c, n_u) == "6.3"
        assert check_of(session.message_6, body, me, client.id_c, bytes(32)) == "6.7"
        assert check_of(session.message_6, body, me, bytes(16), n_u) == "6.8"
        run = session.message_6(body, me, client.id_c, n_u)
        # The right message 7 may still come after a wrong one; a second one may not.
        body = session.message_7(run, one.key, me.registered[0])
        assert refusal(client.control.ask, LOAD, body[:-1] + bytes([body[-1] ^ 1])).rule == "message 7"
        o = client.control.ask(LOAD, body)
        other = Record.of(one.key, me.id, "", "AES-256-GCM", 3)
        assert check_of(session.message_12, o, run, other) == "12.8"
        assert check_of(session.message_12, o, dataclasses.replace(run, sid=bytes(32)), me.registered[0]) == "12.2"
        assert check_of(session.message_12, o, dataclasses.replace(run, id_c=bytes(16)), me.registered[0]) == "12.7"
        assert session.message_12(o, run, me.registered[0]) > 0
        assert refusal(client.control.ask, LOAD, body).rule == "message 7"


def test_a_key_that_was_not_registered_is_keybad(enrol):
    one = enrol()
    with one.client() as client:
        assert check_of(client.load, secrets.token_bytes(32)) == "12.7"
        # The run is over: neither the right key nor an attach.
        again = session.message_7(client.session, one.key, one.identity.registered[0])
        assert refusal(client.control.ask, LOAD, again).rule == "message 7"
        line, refused = attaching(one.address, session.attach_request(client.session, client.instance, bytes(32)))
        assert refused and refused.rule == "attach"
        line.close()
        for changes in ({"usage": 7}, {"r_k": bytes(32)}):
            assert check_of(client.load, one.key, dataclasses.replace(one.identity.registered[0], **changes)) == "12.7"


def test_the_message_that_is_wrong_is_the_one_that_is_named(enrol):
    one, other = enrol(), enrol()
    me, n_u = one.identity, secrets.token_bytes(32)
    with one.client() as client, other.client() as theirs:

        def verified(control, identity, nonce):
            return control.ask(VERIFY, session.message_1(identity, client.id_c, nonce))

        protocol = documents.STATUS["EPROTOCOL"]
        foreign = refusal(verified, theirs.control, me, n_u)
        forged = refusal(verified, client.control, dataclasses.replace(me, keys=Keys.new(2)), n_u)
        verified(client.control, me, n_u)
        again = refusal(verified, client.control, me, n_u)
        said = [(each.status, each.rule, each.what["property"]) for each in (foreign, forged, again)]
        assert said == [(protocol, "message 1", ""), (protocol, "message 3", ""), (protocol, "message 3", "freshness")]
        unknown = refusal(client.control.ask, VERIFY, session.message_1(me, bytes(16), n_u))
        assert unknown.status == documents.STATUS["EUNKNOWN"]
        cut = refusal(client.control.ask, KEYREV, b"cut")
        assert (cut.status, cut.rule) == (protocol, "keyrev")


def test_the_steps_need_not_come_on_one_connection(enrol):
    one = enrol()
    with one.client() as client, one.client() as second:
        run = client.verify()
        assert session.load(second.control, run, one.key, one.identity.registered[0])
        told = client.control.hello()
        assert set(told) == {"broker", "instances", "timings"}
        assert {"2", "3", "4", "5"} <= set(told["timings"])


def test_a_new_token_replaces_the_certificate(machine, enrol):
    one = enrol()
    token = machine.authority("token.new", role="user", name=one.guest.name)
    assert token["id"] == one.guest.enrolment["id"]
    control = Control(one.address)
    identity = registration.register(control, token, secrets.token_bytes(32), suite=1)
    control.close()
    with one.client() as old, Client(one.address, identity) as new:
        assert refusal(old.verify).rule == "message 3"
        assert new.verify()


# ---- attach and release ------------------------------------------------------------------------------------------


def attaching(address, body):
    """The control connection on which it was tried, and the refusal or None."""
    control = Control(address)
    try:
        assert control.ask(session.ATTACH, body) == b""
    except ControlRefused as refused:
        return control, refused
    return control, None


def test_a_run_is_attached_once(enrol):
    one = enrol()
    with one.client() as client:
        client.load(one.key)
        run, ck = client.verify(), secrets.token_bytes(32)
        body = session.attach_request(run, client.instance, ck)
        protocol = documents.STATUS["EPROTOCOL"]
        wrong = {
            "signature": body[:-1] + bytes([body[-1] ^ 1]),
            "session": session.attach_request(dataclasses.replace(run, sid=bytes(32)), client.instance, ck),
            "length of ck": session.attach_request(run, client.instance, b"short"),
            "instance": session.attach_request(run, bytes(16), ck),
        }
        for what, each in wrong.items():
            control, refused = attaching(one.address, each)
            status = documents.STATUS["EUNKNOWN"] if what == "instance" else protocol
            assert refused and refused.status == status, what
            # It stays a control connection, but an ATTACH is the first frame of its own.
            assert control.hello()
            later = refusal(control.ask, session.ATTACH, body)
            assert (later.status, later.rule) == (documents.STATUS["EMALFORMED"], "attach")
            control.close()
        control, refused = attaching(one.address, body)
        assert refused is None
        control.send(session.attach_tag(run, client.instance, ck))
        assert Data(control).null(b"attached without a key loaded in this run") != b""
        other, refused = attaching(one.address, body)
        assert refused and (refused.status, refused.rule) == (protocol, "attach")
        control.close()
        other.close()


def test_a_run_is_its_own_users(enrol):
    one, other = enrol(), enrol()
    with one.client() as client, other.client() as theirs:
        number = client.load(one.key)
        body = session.attach_request(client.session, client.instance, bytes(32))
        control, refused = attaching(other.address, body)
        assert refused and refused.rule == "attach"
        control.close()
        stolen = dataclasses.replace(client.session, identity=other.identity)
        control, refused = attaching(other.address, session.attach_request(stolen, theirs.instance, bytes(32)))
        assert refused and refused.rule == "attach"
        control.close()
        assert refusal(session.release, theirs.control, client.session, client.instance).rule == "release"
        theirs.load(other.key)
        with pytest.raises(DataRefused) as none:
            theirs.attach().encrypt(number, b"text")
        assert none.value.code == documents.code("EKEY", "NO_KEY")


def test_release_takes_the_keys_and_the_connections(enrol):
    one = enrol()
    with one.client() as client:
        number = client.load(one.key)
        first = client.attach()
        client.verify()
        second = client.attach()
        assert first.null(b"1") + second.null(b"2") == b"12"
        assert refusal(session.release, client.control, client.session, bytes(16)).rule == "release"
        client.release()
        assert first.line.ended() and second.line.ended()
        assert refusal(client.release).rule == "release"
        client.verify()
        with pytest.raises(DataRefused) as none:
            client.attach().encrypt(number, b"text")
        assert none.value.code == documents.code("EKEY", "NO_KEY")
        assert client.load(one.key) > number


# ---- data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ALGS)
def test_every_algorithm_in_one_shots_and_streams(enrol, alg):
    one = enrol(alg=alg)
    aad = b"head" if alg.endswith("GCM") else b""
    with one.client() as client:
        number = client.load(one.key)
        data = client.attach()
        for text in (b"", b"x", TEXT, bytes(1 << 20)):
            sealed = data.encrypt(number, text, aad)
            assert opened(alg, one.key, sealed, aad) == text == data.decrypt(number, sealed, aad)
            assert (len(sealed.iv), len(sealed.tag)) == ((12, 16) if aad else (16, 0))
            assert aad or sealed.iv.endswith(bytes(4))
        sealed = data.encrypt_stream(number, PARTS, aad)
        assert opened(alg, one.key, sealed, aad) == TEXT
        pieces = [sealed.text[:1], sealed.text[1:50000], b"", sealed.text[50000:]]
        assert data.decrypt_stream(number, sealed.iv, pieces, sealed.tag, aad) == TEXT
        assert data.decrypt(number, sealed, aad) == TEXT


def test_operations_without_a_key(enrol):
    one = enrol()
    with one.client() as client:
        client.load(one.key)
        data = client.attach()
        assert data.null(TEXT) == TEXT and data.null(b"") == b""
        drawn = [data.random(size) for size in (0, 1, 32, 1 << 20)]
        assert [len(each) for each in drawn] == [0, 1, 32, 1 << 20] and data.random(32) != drawn[2]
        assert data.sha256(TEXT) == data.sha256_stream(PARTS) == hashlib.sha256(TEXT).digest()
        many = data.ask_all([Frame(1, 6, data=bytes([n])) for n in range(200)])
        assert [each.data for each in many] == [bytes([n]) for n in range(200)]


@pytest.mark.parametrize("alg", ALGS)
def test_an_iv_of_ones_own(enrol, alg):
    one = enrol(alg=alg, usage=7)
    size = 12 if alg.endswith("GCM") else 16
    with one.client() as client:
        number = client.load(one.key)
        data = client.attach()
        # All bits set: a counter that does not carry through all 16 bytes would differ in the second block.
        for iv in (bytes(size), b"\xff" * size, secrets.token_bytes(size)):
            sealed = data.encrypt(number, TEXT, iv=iv)
            assert sealed.iv == iv and opened(alg, one.key, sealed) == TEXT
            assert data.encrypt_stream(number, PARTS, iv=iv) == sealed
        drawn = data.encrypt(number, TEXT)
        assert drawn.iv and opened(alg, one.key, drawn) == TEXT


def test_further_keys(enrol):
    one = enrol()
    with one.client() as client:
        keys = {alg: secrets.token_bytes(size) for alg, size in ALGS.items()}
        records = {alg: client.register_key(key, f"disk {alg}", alg, 3) for alg, key in keys.items()}
        numbers = {alg: client.load(keys[alg], record) for alg, record in records.items()}
        first = client.load(one.key)
        assert sorted({first, *numbers.values()}) == [*numbers.values(), first]
        data = client.attach()
        for alg, number in {**numbers, "AES-256-GCM": first}.items():
            sealed = data.encrypt(number, b"text")
            key = one.key if number == first else keys[alg]
            assert opened(alg, key, sealed) == b"text"
        gone = "AES-128-CTR"
        serial = client.revoke_key(records[gone])
        with pytest.raises(DataRefused) as none:
            data.encrypt(numbers[gone], b"text")
        assert none.value.code == documents.code("EKEY", "NO_KEY")
        assert data.encrypt(first, b"text").text
        # Asked twice, the authority says it twice; never keyok again, never registered again.
        assert client.revoke_key(records[gone]) == serial
        assert check_of(client.load, keys[gone], records[gone]) == "12.7"
        nonce = secrets.token_bytes(32)
        body = registration.key_request(one.identity, records[gone], nonce)
        assert refusal(client.control.ask, KEY, body).rule == "key"
        unknown = registration.keyrev_request(one.identity, bytes(32), secrets.token_bytes(32))
        assert refusal(client.control.ask, KEYREV, unknown).rule == "keyrev"


def test_keyrev_has_the_serial_of_the_key(enrol):
    one = enrol()
    with one.client() as client:
        record = Record.of(secrets.token_bytes(32), one.identity.id, "disk", "AES-256-GCM", 3)
        answer = client.control.ask(KEY, registration.key_request(one.identity, record, bytes(range(32))))
        serial = int.from_bytes(dec(dec(answer, 2, "")[0], 7, "")[6], "big")
        assert client.revoke_key(record) == serial


# ---- with vecd.guest ---------------------------------------------------------------------------------------------


def test_vecd_guest_takes_this_clients_identity(enrol, tmp_path):
    one = enrol()
    one.identity.write(tmp_path / "identity.json")
    with one.client() as client:
        number = client.load(one.key)
        data = client.attach()
        with Card.connect(one.address, identity=tmp_path / "identity.json", timeout=10.0) as card:
            key = card.load_key(one.key, alg="AES-256-GCM")
            mine, theirs = data.encrypt(number, TEXT, b"head"), card.encrypt(key, TEXT, aad=b"head")
            assert card.decrypt(key, TheirSealed(mine.iv, mine.text, mine.tag), aad=b"head") == TEXT
            assert data.decrypt(number, Sealed(theirs.iv, theirs.ciphertext, theirs.tag), b"head") == TEXT
            # Every loaded key of this user and instance can be named on each connection.
            assert data.decrypt(key.number, Sealed(theirs.iv, theirs.ciphertext, theirs.tag), b"head") == TEXT
            card.close(release=False)
        assert data.decrypt(number, mine, b"head") == TEXT


def test_this_client_takes_the_identity_of_vecd_guest(machine, tmp_path):
    token = dict(machine.authority("token.new", role="user", name="pinned", card="c0"))
    guest = machine.add("pinned", enrolled=False)
    assert guest.enrolment["id"] == token["id"]
    path, key = tmp_path / "identity.json", secrets.token_bytes(16)
    token = dict(machine.authority("token.new", role="user", name="pinned", card="c0"))
    their_enrol(guest.address, token, path, key=key, alg="AES-128-CTR", usage=7, timeout=10.0)
    identity = Identity.read(path)
    with Card.connect(guest.address, identity=path, timeout=10.0) as card, Client(guest.address, identity) as client:
        assert client.id_c.hex() == token["card_id"]
        theirs = card.load_key(key, alg="AES-128-CTR")
        second = secrets.token_bytes(32)
        card.register_key(second, "second", alg="AES-256-GCM")
        client.verify()
        data = client.attach()
        sealed = data.encrypt(theirs.number, TEXT, iv=bytes(16))
        assert opened("AES-128-CTR", key, sealed) == TEXT
        assert card.decrypt(theirs, TheirSealed(*dataclasses.astuple(sealed))) == TEXT
        record = next(each for each in Identity.read(path).registered if each.name == "second")
        number = client.load(second, record)
        sealed = data.encrypt(number, TEXT, b"head")
        loaded = card.load_key(second, alg="AES-256-GCM")
        assert card.decrypt(loaded, TheirSealed(*dataclasses.astuple(sealed)), aad=b"head") == TEXT


@pytest.mark.parametrize("alg", ["AES-128-GCM", "AES-256-GCM"])
def test_encrypted_files_both_ways(enrol, tmp_path, alg):
    one = enrol(alg=alg)
    one.identity.write(tmp_path / "identity.json")
    plain, theirs, mine, back = (tmp_path / name for name in ("plain", "theirs", "mine", "back"))
    plain.write_bytes(TEXT * 20)
    with Card.connect(one.address, identity=tmp_path / "identity.json", timeout=10.0) as card, one.client() as client:
        number, key = client.load(one.key), card.load_key(one.key, alg=alg)
        data = client.attach()
        card.encrypt_file(plain, theirs, key, aad=b"head")
        sealed = files.read(alg, theirs.read_bytes())
        halves = [sealed.text[:1000000], sealed.text[1000000:]]
        assert data.decrypt_stream(number, sealed.iv, halves, sealed.tag, b"head") == TEXT * 20
        mine.write_bytes(files.write(alg, data.encrypt_stream(number, [TEXT] * 20, b"head")))
        card.decrypt_file(mine, back, key, aad=b"head")
        assert back.read_bytes() == TEXT * 20


def test_an_identity_is_of_its_keys(enrol, tmp_path):
    one = enrol()
    wrong = dataclasses.replace(one.identity, keys=Keys.new(2))
    wrong.write(tmp_path / "wrong.json")
    assert check_of(Identity.read, tmp_path / "wrong.json") == "R4.6"
    begun = time.monotonic()
    with pytest.raises(Exception, match="certificate|keys"):
        Card.connect(one.address, identity=tmp_path / "wrong.json", timeout=5.0)
    assert time.monotonic() - begun < 4
