"""What the sandbox promises, tried: a child enters it, tries the forbidden thing, and tells the result."""

import json
import os
import re
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vecd.base import sandbox

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(sandbox.ROLES)
UID = 61999

HEAD = """
import ctypes, errno, json, os, resource, signal, socket, sys
sys.path.insert(0, {root!r})
from vecd.base import sandbox
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    libc.syscall(number, *args)
    return errno.errorcode.get(ctypes.get_errno(), "OK")
def tried(what):
    try:
        what()
    except OSError as e:
        return errno.errorcode[e.errno]
    return "OK"
def status(name):
    return next(l.split(":")[1].strip() for l in open("/proc/self/status") if l.startswith(name))
def say(x):
    print(json.dumps(x))
sandbox.close_inherited()
"""


def child(code, *, role="broker", uid=-1, expect=0, enter=True, **kw):
    body = HEAD.format(root=str(ROOT)) + (
        f"facts = sandbox.enter(sandbox.spec({role!r}, uid={uid}))\n" if enter else ""
    )
    done = subprocess.run(
        [sys.executable, "-c", body + textwrap.dedent(code)], capture_output=True, text=True, timeout=30, **kw
    )
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_every_call_of_the_table_is_denied(role):
    table = {
        name: row[0 if os.uname().machine == "x86_64" else 1]
        for name, row in sandbox._denied(sandbox.ROLES[role]).items()
    }
    got = child(
        f"say({{name: call(number, 0, 0, 0, 0, 0) for name, number in {table!r}.items() if number}})", role=role
    )
    assert set(got.values()) == {"EPERM"}, got


def test_the_table_has_the_numbers_of_this_kernel():
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if os.uname().machine != "x86_64" or not header.exists():
        pytest.skip("condition not met: the kernel's headers for x86_64 are installed")
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text()))
    for name, (number, _) in {**sandbox.DENIED, **sandbox._OF_ROLES}.items():
        assert name not in numbers or int(numbers[name]) == number, name


def test_the_generic_numbers_are_those_of_the_kernel_headers():
    header = Path("/usr/include/asm-generic/unistd.h")
    if not header.exists():
        pytest.skip("condition not met: the kernel's generic headers are installed")
    numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", header.read_text()))
    for name, (_, number) in {**sandbox.DENIED, **sandbox._OF_ROLES}.items():
        assert name not in numbers or number is None or int(numbers[name]) == number, name


def test_what_a_role_needs_still_works():
    got = child(
        """
        a, b = socket.socketpair(); a.send(b"x")
        import threading, asyncio, mmap
        t = threading.Thread(target=lambda: None); t.start(); t.join()
        pid = os.fork()
        if not pid: os._exit(0)
        os.waitpid(pid, 0)
        fd = os.memfd_create("x"); os.ftruncate(fd, 4096); mmap.mmap(fd, 4096)
        asyncio.run(asyncio.sleep(0.01))
        socket.socket(socket.AF_UNIX).close()
        say(b.recv(1).decode())
        """
    )
    assert got == "x"


def test_a_card_opens_no_socket_of_any_family_but_uses_those_it_has():
    got = child(
        """
        spare = socket.socket(socket.AF_UNIX)
        sandbox.enter(sandbox.spec("card", fds=[spare.fileno()]))
        families = [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_VSOCK]
        pair = socket.socketpair(); pair[0].send(b"x")
        say([tried(lambda: socket.socket(f)) for f in families]
            + [tried(lambda: spare.bind("\\0x")), tried(lambda: spare.listen()), tried(lambda: spare.connect("/none"))])
        """,
        enter=False,
    )
    assert got == ["EPERM"] * 7 + ["ENOENT"]


@pytest.mark.parametrize("role", ROLES)
def test_no_program_is_started_any_more(role):
    assert child('say(tried(lambda: os.execv("/bin/true", ["true"])))', role=role) == "EPERM"


def test_nobody_of_the_same_uid_can_look_inside():
    got = child(
        """
        r, w = os.pipe()
        pid = os.fork()
        if not pid:
            sandbox.enter(sandbox.spec("broker", uid=UID, fds=[r, w]))
            os.write(w, b"x"); signal.pause()
        os.read(r, 1)
        if os.geteuid() == 0:
            os.setresgid(UID, UID, UID); os.setresuid(UID, UID, UID)
        trace = libc.ptrace(16, pid, 0, 0)
        seen = [tried(lambda: open(f"/proc/{pid}/mem", "rb")), tried(lambda: os.listdir(f"/proc/{pid}/fd"))]
        os.kill(pid, signal.SIGKILL)
        say([trace, *seen])
        """.replace("UID", str(UID if os.geteuid() == 0 else -1)),
        enter=False,
    )
    assert got == [-1, "EACCES", "EACCES"]


def test_a_crash_leaves_no_core():
    got = child("say([resource.getrlimit(resource.RLIMIT_CORE), tried(lambda: None), libc.prctl(3)])")
    assert got[0] == [0, 0] and got[2] == 0


def test_privileges_cannot_come_back():
    got = child('say([status("NoNewPrivs"), status("Seccomp"), status("CapEff"), status("CapPrm"), status("CapAmb")])')
    assert got == ["1", "2"] + ["0" * 16] * 3


@pytest.mark.root
def test_root_becomes_the_role_and_does_not_come_back():
    got = child(
        """
        say([os.getresuid(), os.getresgid(), os.getgroups(), status("CapBnd"), tried(lambda: os.setuid(0)),
             tried(lambda: os.chown("/", 0, 0)), tried(lambda: os.kill(os.getppid(), 0)),
             tried(lambda: os.open("/etc/shadow", os.O_RDONLY))])
        """,
        uid=UID,
    )
    assert got == [[UID] * 3, [UID] * 3, [], "0" * 16, "EPERM", "EPERM", "EPERM", "EACCES"]


@pytest.mark.root
@pytest.mark.parametrize("role, mask", [("guard", 0x21), ("attest", 0x4), ("card", 0), ("authority", 0)])
def test_each_role_keeps_its_capabilities_and_no_other(role, mask):
    got = child('say([status(n) for n in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")])', role=role)
    assert [int(x, 16) for x in got] == [mask, mask, mask, 0, 0]
    got = child('say([status(n) for n in ("CapEff", "CapBnd", "CapAmb")])', role=role, uid=UID)
    assert [int(x, 16) for x in got] == [mask, mask, 0]


@pytest.mark.root
def test_a_role_started_by_another_user_is_refused():
    error = child(
        """
        os.setresuid(UID, UID, UID)
        try:
            sandbox.enter(sandbox.spec("broker", uid=4711))
        except sandbox.NotLockedDown as e:
            say(str(e))
        """.replace("UID", str(UID)),
        enter=False,
    )
    assert "4711" in error


@pytest.mark.root
def test_the_end_of_whoever_started_it_is_still_its_own_end():
    got = child("n = ctypes.c_int(); libc.prctl(2, ctypes.byref(n)); say(n.value)", uid=UID, enter=True)
    assert got == 0
    got = child(
        """
        libc.prctl(1, 9)
        sandbox.enter(sandbox.spec("broker", uid=UID))
        n = ctypes.c_int(); libc.prctl(2, ctypes.byref(n)); say(n.value)
        """.replace("UID", str(UID)),
        enter=False,
    )
    assert got == 9


def test_a_descriptor_nobody_gave_is_named():
    got = child(
        """
        fd = os.open("/etc/passwd", os.O_RDONLY)
        try:
            sandbox.enter(sandbox.spec("broker"))
        except sandbox.NotLockedDown as e:
            say([str(e), fd])
        """,
        enter=False,
    )
    assert f"{got[1]} (/etc/passwd)" in got[0]


def test_what_the_parent_left_open_is_closed():
    fd = os.open("/etc/passwd", os.O_RDONLY)
    try:
        assert child(f"say(tried(lambda: os.fstat({fd})))", pass_fds=[fd]) == "EBADF"
    finally:
        os.close(fd)


def test_a_second_thread_is_refused():
    got = child(
        """
        import threading
        done = threading.Event(); t = threading.Thread(target=done.wait); t.start()
        try:
            sandbox.enter(sandbox.spec("broker"))
        except sandbox.NotLockedDown as e:
            say(str(e))
        done.set()
        """,
        enter=False,
    )
    assert "2 threads" in got


def test_an_unknown_role_is_refused():
    with pytest.raises(sandbox.NotLockedDown):
        sandbox.spec("nobody")


def test_without_the_filter_the_proof_fails():
    got = child(
        """
        sandbox._filter = lambda role: None
        try:
            sandbox.enter(sandbox.spec("broker"))
        except sandbox.NotLockedDown as e:
            say(str(e))
        """,
        enter=False,
    )
    assert "seccomp" in got


@pytest.mark.root
def test_a_cards_memory_is_locked_where_that_is_allowed():
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        pytest.skip("condition not met: RLIMIT_MEMLOCK can be raised (CAP_SYS_RESOURCE)")
    resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
    got = child('say([facts.memory, status("VmLck")])', role="card", uid=UID)
    assert got[0] == "" and int(got[1].split()[0]) > 1000


def test_where_it_is_not_the_reason_is_told():
    code = """
        if os.geteuid() == 0:
            os.setresuid(UID, UID, UID)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
        say(sandbox.enter(sandbox.spec("card")).memory)
        """
    assert child(code.replace("UID", str(UID)), enter=False) == "RLIMIT_MEMLOCK is 64 KiB"


def test_it_imports_nothing_of_the_project_but_errors():
    text = Path(sandbox.__file__).read_text()
    assert re.findall(r"^ *(?:from|import) (\.\S*|vecd\S*) ", text, re.MULTILINE) == [".errors"]
