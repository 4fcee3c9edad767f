"""What goes wrong around a guest: connections that stall or vanish, crowds, processes that die, rights that go."""

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.integration.cipher_machine import running
from vecd.base.errors import BadStream, Busy, Denied, Gone, NoKey, TimedOut, VecError
from vecd.guest import read_identity
from vecd.guest.channel import Channel, Request
from vecd.guest.control import Control
from vecd.guest.deadline import Deadline
from vecd.guest.startup import StartUp
from vecd.guest.transport import dial, parse
from vecd.wire import codec, ops

# Short times, so that the tests see them pass.
SETTINGS = "[broker]\nlinger_s = 1.0\nstate_s = 1.0\n[guard]\nguard_away_s = 3.0\n"
BACK_S = 15.0


@pytest.fixture(scope="module")
def machine():
    with running("c0", "c1", settings=SETTINGS) as machine:
        yield machine


@pytest.fixture(scope="module")
def a(machine):
    return machine.add("A")


@pytest.fixture(scope="module")
def b(machine):
    return machine.add("B")


def deadline():
    return Deadline(10.0)


def raw(guest):
    sock = socket.socket(socket.AF_UNIX)
    # Blocking, so that a full backlog is waited for.
    sock.connect(guest.address.removeprefix("unix:"))
    sock.settimeout(5.0)
    return sock


def serves(guest):
    """A whole start-up and one exchange work now."""
    with guest.connect() as card:
        key = card.load_key(guest.key)
        return card.decrypt(key, card.encrypt(key, b"served")) == b"served"


def ended(sock, seconds=5.0):
    """What was said before the other end closed."""
    sock.settimeout(seconds)
    said = b""
    try:
        while chunk := sock.recv(65536):
            said += chunk
    except ConnectionResetError:
        pass
    return said


# ---- connections that stall or vanish in every state of the protocol ----------------------------------------------


def at_connect(stack, guest):
    return stack.enter_context(raw(guest))


def at_half_a_header(stack, guest):
    sock = stack.enter_context(raw(guest))
    sock.send(codec.frame(ops.CONTROLS["HELLO"].number).encode()[:20])
    return sock


def at_half_a_message(stack, guest):
    sock = stack.enter_context(raw(guest))
    sock.send(codec.frame(ops.CONTROLS["VERIFY"].number, data=bytes(500)).encode()[:200])
    return sock


def after_hello(stack, guest):
    sock = stack.enter_context(raw(guest))
    sock.send(codec.frame(ops.CONTROLS["HELLO"].number, request=1).encode())
    header = codec.parse_header(sock.recv(48, socket.MSG_WAITALL))
    sock.recv(header.body_size, socket.MSG_WAITALL)
    return sock


def after_verification(stack, guest):
    start = StartUp(parse(guest.address), read_identity(guest.identity), None, None, False)
    run = start.verify(deadline())
    stack.callback(run.control.close)
    return run.control._channel._sock


def after_loading(stack, guest):
    start = StartUp(parse(guest.address), read_identity(guest.identity), None, None, False)
    run = start.verify(deadline())
    stack.callback(run.control.close)
    message7 = run.user.load(guest.key, start.identity.registered[0], time.monotonic())
    run.control.ask("LOAD", message7, deadline())
    return run.control._channel._sock


CONTROL_STATES = [at_connect, at_half_a_header, at_half_a_message, after_hello, after_verification, after_loading]


@pytest.mark.parametrize("state", CONTROL_STATES)
def test_who_stalls_is_hung_up_on_and_nobody_else_notices(machine, a, b, state):
    with ExitStack() as stack:
        sock = state(stack, a)
        assert serves(b)
        started = time.monotonic()
        ended(sock)
        assert time.monotonic() - started < 3.0
    assert serves(a)


@pytest.mark.parametrize("state", CONTROL_STATES)
def test_who_vanishes_leaves_nothing_behind(machine, a, b, state):
    for _ in range(3):
        with ExitStack() as stack:
            state(stack, a).close()
    assert serves(a) and serves(b)


def attached(stack, guest):
    start = StartUp(parse(guest.address), read_identity(guest.identity), None, None, False)
    run = start.verify(deadline())
    message7 = run.user.load(guest.key, start.identity.registered[0], time.monotonic())
    number = run.user.accept_loaded(run.control.ask("LOAD", message7, deadline()), int(time.time()), time.monotonic())
    attachment = run.user.attach(start.place.instance, time.monotonic())
    run.control.close()
    channel = Channel(dial(parse(guest.address), deadline()))
    stack.callback(channel.close)
    channel.ask(
        Request(ops.CONTROLS["ATTACH"].number, flags=0, data=attachment.message), deadline(), "attach"
    ).require()
    return channel, attachment.tag, number


def test_a_tag_that_does_not_come_ends_the_attachment(machine, a, b):
    with ExitStack() as stack:
        channel, _, _ = attached(stack, a)
        assert serves(b)
        started = time.monotonic()
        ended(channel._sock, 10.0)
        assert time.monotonic() - started < 7.0
    assert serves(a)


def test_half_a_data_frame_does_not_stop_the_others(machine, a, b):
    with ExitStack() as stack:
        channel, tag, number = attached(stack, a)
        channel.send_raw(tag)
        frame = codec.frame(ops.OPS["ENCRYPT"].number, flags=ops.F_ONE_SHOT, request=1, key=number, data=bytes(1000))
        channel.send_raw(frame.encode()[:500])
        assert serves(b)
    assert serves(a)


def test_a_guest_that_does_not_read_its_answers_does_not_stop_the_others(machine, a, b):
    with ExitStack() as stack:
        channel, tag, number = attached(stack, a)
        channel.send_raw(tag)
        request = codec.frame(
            ops.OPS["ENCRYPT"].number, flags=ops.F_ONE_SHOT, request=1, key=number, data=bytes(ops.DATA_MAX)
        ).encode()
        channel._sock.setblocking(False)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            try:
                channel._sock.send(request)
            except BlockingIOError:
                time.sleep(0.01)
        assert serves(b)
    assert serves(a)


# ---- crowds --------------------------------------------------------------------------------------------------------


def test_600_connections_that_say_nothing_keep_nobody_out(machine, a, b):
    with ExitStack() as stack:
        crowd = [stack.enter_context(raw(a)) for _ in range(600)]
        started = time.monotonic()
        assert serves(b)
        assert serves(a)
        assert time.monotonic() - started < 2.0
        said = ended(crowd[0])
        refusal = codec.refusal(codec.Frame(codec.parse_header(said[:48]), data=said[48:]))
        assert isinstance(refusal, Busy) and refusal.reason
    machine.wait_for(lambda: serves(a), BACK_S, "A is served after the crowd went")


def test_many_guests_start_at_once(machine):
    guests = [machine.add(f"M{number}", "c0", "c1") for number in range(12)]
    wrong = []

    def work(guest):
        try:
            for _ in range(5):
                assert serves(guest)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(guest,)) for guest in guests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


# ---- rights that go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attribute", "rule"), [("a", "R2"), ("r", "R4"), ("c", "R1")])
def test_a_right_that_is_rescinded_in_mid_stream_ends_the_stream_with_the_rule(machine, attribute, rule):
    guest = machine.add(f"S{attribute}")
    with guest.connect(retry=False, timeout=5) as card:
        key = card.load_key(guest.key)
        with card.encrypt_stream(key) as stream:
            stream.update(bytes(65536))
            machine.admin("access.rescind", subject=guest.instance, object="c0", attribute=attribute)
            with pytest.raises((Denied, Gone)) as error:
                for _ in range(3):
                    stream.update(bytes(65536))
        if attribute != "c":
            assert isinstance(error.value, Denied) and error.value.rule in (rule, "R10") and error.value.reason
        with pytest.raises(Denied) as refused:
            card.encrypt(key, b"x")
        assert refused.value.rule == rule and refused.value.reason
        machine.admin("access.give", subject=guest.instance, object="c0", attribute=attribute)
    assert serves(guest)


def test_an_instance_without_a_connection_is_released_after_its_time(machine, a):
    card = a.connect()
    key = card.load_key(a.key)
    card.encrypt(key, b"x")
    card._connection._channel.close()
    machine.wait_for(lambda: machine.status()["c0"] == "free", 5, "the idle instance is released")
    # The library notices nothing but the loss, and loads the key again.
    assert card.decrypt(key, card.encrypt(key, b"back")) == b"back"
    card.close()


def test_a_connection_that_is_there_keeps_its_key_without_being_used(machine, a):
    with a.connect() as card:
        key = card.load_key(a.key)
        number = key.number
        time.sleep(2.0)
        card.encrypt(key, b"x")
        assert key.number == number


# ---- processes that die ----------------------------------------------------------------------------------------------


def kill(machine, role, name=""):
    (pid,) = machine.pids(role, name)
    os.kill(pid, signal.SIGKILL)
    machine.wait_for(lambda: machine.pids(role, name) not in ([], [pid]), BACK_S, f"{role} was started again")


PROCESSES = [("broker", ""), ("card", "c0"), ("guard", ""), ("authority", "")]


@pytest.mark.parametrize(("role", "name"), PROCESSES)
def test_a_killed_process_costs_no_answer(machine, a, role, name):
    with a.connect(timeout=20) as card:
        key = card.load_key(a.key)
        done = []
        stop = threading.Event()
        errors = []

        def load():
            count = 0
            while not stop.is_set():
                text = f"text {count}".encode()
                try:
                    if card.decrypt(key, card.encrypt(key, text)) != text:
                        errors.append("a wrong answer")
                except Exception as error:
                    errors.append(error)
                    return
                count += 1
                done.append(time.monotonic())

        thread = threading.Thread(target=load)
        thread.start()
        time.sleep(0.3)
        killed = time.monotonic()
        kill(machine, role, name)
        machine.wait_for(lambda: done and done[-1] > killed + 0.5, BACK_S, "answers again")
        time.sleep(1.0)
        stop.set()
        thread.join(30)
        assert errors == []
        gaps = [after - before for before, after in zip(done, done[1:], strict=False)]
        assert max(gaps) < 3.0, f"{role}: {max(gaps):.1f} s without an answer"
    machine.wait_for(lambda: serves(a), BACK_S, "a fresh start works")


def test_a_stream_whose_card_died_is_gone_and_a_file_starts_again(machine, a, tmp_path):
    plain = os.urandom(24 << 20)
    (tmp_path / "in").write_bytes(plain)
    with a.connect(timeout=20) as card:
        key = card.load_key(a.key)
        with card.encrypt_stream(key) as stream:
            stream.update(b"x")
            kill(machine, "card", "c0")
            with pytest.raises((Gone, BadStream, NoKey)):
                stream.update(b"y")
        killed = threading.Event()

        def once(done, total):
            if done > total // 3 and not killed.is_set():
                killed.set()
                kill(machine, "card", "c0")

        card.encrypt_file(tmp_path / "in", tmp_path / "sealed", key, progress=once)
        assert killed.is_set()
        sealed = (tmp_path / "sealed").read_bytes()
        assert AESGCM(a.key).decrypt(sealed[8:20], sealed[20:], b"") == plain
        assert sorted(os.listdir(tmp_path)) == ["in", "sealed"]


def test_without_retry_a_lost_connection_is_said_to_be_gone(machine, a):
    with a.connect(retry=False, timeout=5) as card:
        key = card.load_key(a.key)
        kill(machine, "card", "c0")
        with pytest.raises((Gone, VecError)):
            card.encrypt(key, b"x")


def test_a_guard_that_hangs_stops_start_ups_and_nothing_else(machine, a):
    with a.connect(timeout=2) as card:
        key = card.load_key(a.key)
        (guard,) = machine.pids("guard")
        os.kill(guard, signal.SIGSTOP)
        try:
            assert card.decrypt(key, card.encrypt(key, b"x")) == b"x"
            with pytest.raises((Busy, TimedOut, Gone)):
                a.connect(timeout=1.0, retry=False)
        finally:
            os.kill(guard, signal.SIGCONT)
    machine.wait_for(lambda: serves(a), BACK_S, "served again")


def test_a_guard_that_stays_away_is_met_with_busy_and_then_with_a_wiped_card(machine, a):
    (guard,) = machine.pids("guard")
    with a.connect(timeout=1) as card:
        key = card.load_key(a.key)
        number = key.number
        # Whoever starts processes again is stopped, so that the guard stays away.
        machine.process.send_signal(signal.SIGSTOP)
        try:
            os.kill(guard, signal.SIGKILL)
            time.sleep(0.3)
            with pytest.raises(Busy) as error:
                card.encrypt(key, b"x")
            assert error.value.reason == ops.REASONS["QUIESCED"].sentence
            machine.wait_for(lambda: "the guard stayed away" in machine.log, 10, "the card wipes its key slots")
        finally:
            machine.process.send_signal(signal.SIGCONT)
        assert card.decrypt(key, card.encrypt(key, b"back", timeout=BACK_S), timeout=BACK_S) == b"back"
        assert key.number != number


def test_a_guard_that_comes_back_in_time_finds_the_keys_where_they_were(machine, a):
    with a.connect(timeout=BACK_S) as card:
        key = card.load_key(a.key)
        number = key.number
        kill(machine, "guard")
        assert card.decrypt(key, card.encrypt(key, b"kept")) == b"kept"
        assert key.number == number


@pytest.mark.root
def test_nothing_is_left_open_after_all_of_this(machine, a):
    """The broker has no more descriptors than a fresh one has: its listeners, its links, its cards."""
    machine.wait_for(lambda: serves(a), BACK_S, "served")
    time.sleep(1.5)
    (broker,) = machine.pids("broker")
    sockets = os.listdir(f"/proc/{broker}/fd")
    guests = len(machine.admin("guest.list")["guests"])
    assert len(sockets) < guests + 20


def test_the_control_half_ends_where_the_data_half_begins(machine, a):
    """The broker holds no copy of an attached connection: when the guest closes, the card sees the end at once."""
    with ExitStack() as stack:
        channel, tag, _ = attached(stack, a)
        channel.send_raw(tag)
        assert channel.ask(Request(ops.OPS["NULL"].number, data=b"x"), deadline(), "null").require().data == b"x"
        (broker,) = machine.pids("broker")
        os.kill(broker, signal.SIGKILL)
        assert channel.ask(Request(ops.OPS["NULL"].number, data=b"y"), deadline(), "null").require().data == b"y"
    machine.wait_for(lambda: serves(a), BACK_S, "served by the next broker")


def test_a_hello_needs_no_identity_and_tells_only_this_guests_places(a, b):
    with Control(parse(a.address), deadline()) as control:
        said = control.hello(deadline())
    assert [one["name"] for one in said["instances"]] == ["A.1"]
