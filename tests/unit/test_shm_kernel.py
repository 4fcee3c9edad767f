"""The kernel's word: what another process cannot do with the descriptor of the matrices, each by its errno.

The child is started by exec with the descriptor alone, once as the same user and, where we are root, once as another.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import subprocess
import sys

import pytest
from vecd._shm import ffi, lib

from vecd.base.errors import Integrity, Version
from vecd.shm import layout, reader, writer

NOBODY = 65534
SIZE = ffi.sizeof("struct vec_matrices")

# Arguments: descriptor, size, user to become or -1. After setuid the process is made dumpable again, or its own
# /proc/self/fd would refuse it for a reason that is not the one in question.
CHILD = r"""
import ctypes, errno, fcntl, json, mmap, os, sys
fd, size = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
FAILED = ctypes.c_void_p(-1).value
said = {}
if int(sys.argv[3]) >= 0:
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
    libc.prctl(4, 1, 0, 0, 0)

def check(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "")

def attempt(name, what):
    try:
        what()
        said[name] = "done"
    except OSError as error:
        said[name] = errno.errorcode[error.errno]

def map_(at, protection):
    address = libc.mmap(None, size, protection, mmap.MAP_SHARED, at, 0)
    if address == FAILED:
        raise OSError(ctypes.get_errno(), "")
    return address

def unseal(at):
    fcntl.fcntl(at, 1033, 0x0001)

RW, PUNCH = mmap.PROT_READ | mmap.PROT_WRITE, 0x02 | 0x01
def attempts(kind, at):
    attempt(kind + "map writable", lambda: map_(at, RW))
    attempt(kind + "write", lambda: os.write(at, b"x"))
    attempt(kind + "pwrite", lambda: os.pwrite(at, b"x", 64))
    attempt(kind + "grow", lambda: os.ftruncate(at, size + 4096))
    attempt(kind + "shrink", lambda: os.ftruncate(at, size - 4096))
    attempt(kind + "truncate", lambda: os.truncate(f"/proc/self/fd/{at}", 0))
    attempt(kind + "punch a hole", lambda: check(libc.fallocate(at, PUNCH, 0, 4096)))
    attempt(kind + "add a seal", lambda: unseal(at))

attempts("", fd)
address = map_(fd, mmap.PROT_READ)
attempt("mprotect", lambda: check(libc.mprotect(address, size, RW)))
attempt("reopen to read", lambda: os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)))
try:
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    said["reopen to write"] = "done"
    attempts("reopened: ", again)
    address = map_(again, mmap.PROT_READ)
    attempt("reopened: mprotect", lambda: check(libc.mprotect(address, size, RW)))
except OSError as error:
    said["reopen to write"] = errno.errorcode[error.errno]
print(json.dumps(said))
"""

# Through the descriptor that was passed: it is open for reading only.
PASSED = {
    "map writable": "EACCES",
    "write": "EBADF",
    "pwrite": "EBADF",
    "grow": "EINVAL",
    "shrink": "EINVAL",
    "punch a hole": "EBADF",
    "add a seal": "EPERM",
    "mprotect": "EACCES",
}
# Root may open it for writing in spite of its mode; then it meets the seals.
REOPENED = {
    "reopened: map writable": "EPERM",
    "reopened: write": "EPERM",
    "reopened: pwrite": "EPERM",
    "reopened: grow": "EPERM",
    "reopened: shrink": "EPERM",
    "reopened: truncate": "EPERM",
    "reopened: punch a hole": "EPERM",
    "reopened: add a seal": "EPERM",
    "reopened: mprotect": "EACCES",
}


@pytest.fixture
def matrices():
    made = writer.Matrices.create(7)
    yield made
    made.close()


def child(fd, user=-1):
    done = subprocess.run(
        [sys.executable, "-I", "-c", CHILD, str(fd), str(SIZE), str(user)],
        pass_fds=[fd],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def whole(matrices):
    return bytes(ffi.buffer(matrices._map))


def test_another_process_cannot_change_the_matrices(matrices):
    before = whole(matrices)
    said = child(matrices.fd)
    assert {name: said[name] for name in PASSED} == PASSED
    if os.geteuid() == 0:
        assert said["reopen to write"] == "done" and said["truncate"] == "EPERM"
        assert {name: said[name] for name in REOPENED} == REOPENED
    else:
        assert said["reopen to write"] == "EACCES" and said["truncate"] == "EACCES"
    assert whole(matrices) == before


@pytest.mark.root
def test_another_user_cannot_even_reopen_them(matrices):
    before = whole(matrices)
    said = child(matrices.fd, NOBODY)
    assert {name: said[name] for name in PASSED} == PASSED
    assert said["reopen to write"] == "EACCES" and said["reopen to read"] == "EACCES" and said["truncate"] == "EACCES"
    assert whole(matrices) == before


def test_the_guard_itself_gets_no_second_writable_mapping(matrices):
    with pytest.raises(PermissionError) as caught:
        mmap.mmap(matrices.fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    assert caught.value.errno == errno.EACCES
    assert fcntl.fcntl(matrices.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert fcntl.fcntl(matrices.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_forked_child_does_not_have_the_writable_mapping(matrices):
    """MADV_DONTFORK: the address is not mapped in the child, so touching it is SIGSEGV."""
    address = int(ffi.cast("uintptr_t", matrices._map))
    code = """if True:
        import ctypes, os, resource, signal, sys
        from vecd.shm import writer
        from vecd._shm import ffi
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        made = writer.Matrices.create(7)
        pid = os.fork()
        if pid == 0:
            ctypes.string_at(int(ffi.cast("uintptr_t", made._map)), 1)
            os._exit(0)
        sys.exit(0 if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSEGV else 1)
    """
    assert ctypes.string_at(address, 1)
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


@pytest.mark.parametrize("which", ["matrices", "word"])
def test_the_mapping_is_left_out_of_core_dumps_and_forks(which, matrices):
    card = writer.CardWord.create()
    address = int(ffi.cast("uintptr_t", matrices._map if which == "matrices" else card._map))
    with open("/proc/self/smaps") as smaps:
        text = smaps.read().split(f"{address:08x}-", 1)[1]
    flags = next(line for line in text.splitlines() if line.startswith("VmFlags:")).split()
    card.close()
    assert "dd" in flags and "dc" in flags


def seals_of(fd):
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS)


def test_the_seals_are_set(matrices):
    wanted = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    assert seals_of(matrices.fd) & wanted == wanted and seals_of(matrices.fd) & 0x10
    card = writer.CardWord.create()
    assert seals_of(card.fd) & wanted == wanted and not seals_of(card.fd) & (0x10 | fcntl.F_SEAL_WRITE)
    for cut in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(card.fd, cut)
    card.close()


def test_memory_is_not_executable_where_the_kernel_says_so(matrices):
    probe = ctypes.CDLL(None).memfd_create(b"probe", 0x0008 | 0x0001)
    if probe < 0:
        pytest.skip("condition not met: the kernel has MFD_NOEXEC_SEAL (6.3)")
    os.close(probe)
    assert seals_of(matrices.fd) & 0x20 and not os.fstat(matrices.fd).st_mode & 0o111


# ---- who maps them checks ----


def fake(size=SIZE, content=b"", seals=0x1F & ~0x08):
    fd = os.memfd_create("fake", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    os.pwrite(fd, content, 0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def head(matrices, **fields):
    copy = ffi.new("struct vec_matrices *")
    ffi.memmove(copy, matrices._map, 64)
    for name, value in fields.items():
        setattr(copy, name, value)
    return bytes(ffi.buffer(copy))[:64]


def test_a_good_copy_is_opened(matrices):
    fd = fake(content=head(matrices))
    made = reader.Matrices.open(fd)
    assert made.generation == 7
    made.close()
    made.close()
    os.close(fd)


FUTURE, SEAL, SHRINK, GROW = 0x10, 0x01, 0x02, 0x04


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ({"seals": SHRINK | GROW | SEAL}, Integrity),
        ({"seals": FUTURE | GROW | SEAL}, Integrity),
        ({"seals": FUTURE | SHRINK | SEAL}, Integrity),
        ({"seals": FUTURE | SHRINK | GROW}, Integrity),
        ({"size": SIZE - 1}, Integrity),
        ({"size": SIZE + 1}, Integrity),
        ({"magic": 1}, Integrity),
        ({"size_field": 1}, Integrity),
        ({"levels": 3}, Integrity),
        ({"levels": 17}, Integrity),
        ({"version": 2}, Version),
    ],
)
def test_what_is_not_the_matrices_is_refused(what, error, matrices):
    memory = {name: what[name] for name in ("seals", "size") if name in what}
    fields = {name.removesuffix("_field"): value for name, value in what.items() if name not in memory}
    fd = fake(content=head(matrices, **fields), **memory)
    with pytest.raises(error):
        reader.Matrices.open(fd)
    os.close(fd)


@pytest.mark.parametrize("path", ["/dev/zero", "/etc/hostname", "/"])
def test_a_file_is_not_the_matrices(path):
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(Integrity):
        reader.Matrices.open(fd)
    os.close(fd)


def test_a_closed_descriptor_is_not_the_matrices():
    with pytest.raises(Integrity):
        reader.Matrices.open(-1)


def open_word(fd):
    mapping = ffi.new("vec_card_word **")
    status = lib.vec_word_open(fd, mapping)
    if status == 0:
        lib.vec_word_unmap(mapping[0])
    return status


def test_a_passed_word_is_opened():
    card = writer.CardWord.create(9)
    mapping = ffi.new("vec_card_word **")
    assert lib.vec_word_open(card.fd, mapping) == 0
    assert layout.decode(lib.vec_word_load(mapping[0])) == card.load()
    card.connect()
    assert layout.decode(lib.vec_word_load(mapping[0])) == card.load()
    lib.vec_word_unmap(mapping[0])
    card.close()


@pytest.mark.parametrize(
    ("memory", "why"),
    [
        ({"seals": SHRINK | GROW}, "not sealed"),
        ({"seals": SHRINK | SEAL}, "may grow"),
        ({"seals": GROW | SEAL}, "may shrink"),
        ({"seals": FUTURE | SHRINK | GROW | SEAL}, "matrices"),
        ({"size": 8192, "seals": SHRINK | GROW | SEAL}, "size"),
        ({"seals": SHRINK | GROW | SEAL, "content": b"\xff" * 8}, "an impossible word"),
    ],
)
def test_what_is_not_a_card_word_is_refused(memory, why):
    free = layout.encode(layout.Word(0, False, layout.FREE, 0, None, 0)).to_bytes(8, "little")
    fd = fake(**{"size": 4096, "content": free, **memory})
    assert open_word(fd) == -lib.VEC_EINTEGRITY, why
    os.close(fd)


def test_the_matrices_are_not_a_card_word_nor_the_other_way(matrices):
    card = writer.CardWord.create()
    assert open_word(matrices.fd) == -lib.VEC_EINTEGRITY
    with pytest.raises(Integrity):
        reader.Matrices.open(card.fd)
    card.close()
