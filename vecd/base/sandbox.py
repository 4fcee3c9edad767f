"""What a process gives up at its start, and how it proves that it has.

A stand-alone file: it knows the roles by name and nothing else of the project. `close_inherited` comes first,
before anything was opened; `enter` drops and then proves, once, while there is one thread; whatever is not as it
must be raises NotLockedDown, and the process ends with 77.

Order in `enter`, each step needing what the next takes away: memory locked (CAP_IPC_LOCK) - bounding set
(CAP_SETPCAP) - groups, gid, uid (CAP_SETGID, CAP_SETUID) - capabilities - no dump, no core - no new privileges -
system-call filter - proof. The filter denies by list: everything a role of ours has no business with gets EPERM.
It is the second wall, for the day on which an attacker runs code in the process; the first are uid, capabilities
and descriptors.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import Integrity


class NotLockedDown(Integrity):
    """The process is not as locked down as its role requires; it ends with 77."""

    sentence = "not locked down as required"


@dataclass(frozen=True, slots=True)
class Role:
    """What one role keeps, and what it is denied beyond DENIED.

    lock_memory: all of it, where that is allowed. overwrite_freed: what it frees is filled (heap.py; start.lock_down
    tries it).
    """

    capabilities: tuple[str, ...] = ()
    lock_memory: bool = False
    overwrite_freed: bool = False
    denied: tuple[str, ...] = ()


# No role starts a program after its own start: children of vecd dev and of systemd are started by those.
_EXEC = ("execve", "execveat")

ROLES = {
    # CHOWN: a guest's socket belongs to its VMM, the doors of broker and card to them.
    # KILL: a card that does not stop within a revocation is ended through its pidfd.
    "guard": Role(("CHOWN", "KILL"), denied=_EXEC),
    # DAC_READ_SEARCH: the firmware's event log is root's.
    "attest": Role(("DAC_READ_SEARCH",), denied=_EXEC),
    "broker": Role(denied=_EXEC),
    "authority": Role(denied=_EXEC),
    # A card gets its connections as descriptors and opens none. connect stays: a guard that was restarted has to be
    # reached again, over sockets made before the start (ipc.spare), and without socket there are no others.
    "card": Role(
        lock_memory=True, overwrite_freed=True, denied=(*_EXEC, "socket", "bind", "listen", "accept", "accept4")
    ),
}

# name: (x86_64, aarch64); None where the architecture has no such call. Denied to every role.
DENIED: dict[str, tuple[int | None, int | None]] = {
    # Reading or steering another process, whoever runs it: nobody debugs in production.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # Another kernel, or more of this one: only an administrator, never a daemon.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    # Large attack surfaces of the kernel that no role uses.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "fanotify_init": (300, 262),
    # Another view of the file system: a role sees what its unit lets it see.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    # Clock, accounting, kernel log, ports: the machine's, not ours.
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    # Changes how memory is laid out and protected; also the call by which the proof sees that the filter is there.
    "personality": (135, 92),
}

# Denied to the roles that name them above.
_OF_ROLES: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "socket": (41, 198),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
}

_CAPABILITIES = {"CHOWN": 0, "DAC_READ_SEARCH": 2, "KILL": 5}
_SETPCAP = 8

# machine: (column of the tables, AUDIT_ARCH of the filter, number of seccomp(2))
_MACHINES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}

# <linux/prctl.h>, <linux/seccomp.h>, <linux/filter.h>, <sys/mman.h>
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 3, 4, 8, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 38, 39, 47, 4
_SECCOMP_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
_RET_ALLOW, _RET_EPERM = 0x7FFF0000, 0x00050000 | errno.EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32_BIT = 0x40000000
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Spec:
    """One process: its role, whom to become (-1: stay who we are) and the descriptors it may hold beside 0, 1, 2."""

    role: str
    uid: int = -1
    gid: int = -1
    fds: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """What `enter` proved, for the log. memory: "" when all memory is locked, else why not."""

    text: str
    memory: str


def spec(role: str, *, uid: int = -1, gid: int = -1, fds: Iterable[int | None] = ()) -> Spec:
    """The spec of a role; None among the descriptors is left out."""
    if role not in ROLES:
        raise NotLockedDown(f"no role {role!r} is known to the sandbox")
    return Spec(role, uid, gid if gid >= 0 else uid, frozenset(fd for fd in fds if fd is not None))


def close_inherited(keep: Iterable[int] = ()) -> None:
    """Descriptors that the parent left open are closed, but 0, 1, 2 and those to keep. Before anything is opened."""
    for fd in _descriptors() - {0, 1, 2, *keep}:
        try:
            os.close(fd)
        except OSError:
            # The one that the listing itself used.
            pass


def enter(spec: Spec) -> Facts:
    """The process is locked down as its role requires, and that was proved. Raises NotLockedDown."""
    role = ROLES[spec.role]
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise NotLockedDown(f"{threads} threads run already", reason="capabilities are dropped thread by thread")
    try:
        memory = _lock_memory() if role.lock_memory else "not asked for"
        bounding = _drop_bounding(role)
        _become(spec)
        _set_capabilities(role)
        _prctl(_PR_SET_DUMPABLE, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _filter(role)
    except (OSError, ValueError) as e:
        raise NotLockedDown(f"{spec.role} cannot be locked down", reason=str(e)) from None
    prove(spec, bounding=bounding)
    text = f"uid {os.geteuid()}, capabilities {', '.join(role.capabilities) if _has_any() else 'none'}, filter"
    return Facts(f"{text} of {len(_denied(role))} calls, descriptors {_list(_descriptors())}", memory)


def prove(spec: Spec, *, bounding: bool = False) -> None:
    """Everything `enter` promises is so now, by the kernel's word. Raises NotLockedDown naming what is not.

    bounding: the bounding set was ours to drop (CAP_SETPCAP), so it is looked at, too.
    """
    status = _status()
    mask = _mask(ROLES[spec.role])
    wanted_uid = spec.uid if spec.uid >= 0 else os.geteuid()
    wanted_gid = spec.gid if spec.gid >= 0 else os.getegid()
    # What we could not be given (no root at the start) we need not hold; what the role has no word for, we may not.
    held = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")}
    extra = held["CapEff"] | held["CapPrm"] | held["CapInh"] | held["CapAmb"] | (held["CapBnd"] if bounding else 0)
    claims = {
        "no_new_privs": status["NoNewPrivs"] == "1" and _prctl(_PR_GET_NO_NEW_PRIVS) == 1,
        "seccomp filter": status["Seccomp"] == "2" and _personality_is_denied(),
        "not dumpable": _prctl(_PR_GET_DUMPABLE) == 0,
        "no core": resource.getrlimit(resource.RLIMIT_CORE) == (0, 0),
        f"uid {wanted_uid}": set(status["Uid"].split()) == {str(wanted_uid)},
        f"gid {wanted_gid}": set(status["Gid"].split()) == {str(wanted_gid)},
        "no groups of others": spec.uid < 0 or set(status["Groups"].split()) <= {str(wanted_gid)},
        f"no capability but {ROLES[spec.role].capabilities}": extra & ~mask == 0,
    }
    for claim, holds in claims.items():
        if not holds:
            raise NotLockedDown(f"{spec.role} is not locked down", reason=f"not true: {claim}")
    if unexpected := _descriptors() - {0, 1, 2} - spec.fds:
        raise NotLockedDown(
            f"{spec.role} holds descriptors that nobody gave it", reason=", ".join(map(_describe, sorted(unexpected)))
        )


def _lock_memory() -> str:
    """All memory, now and later, stays out of swap: ""; else the reason why it cannot."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        # ROOT: CAP_SYS_RESOURCE, for memory that never reaches swap.
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (ValueError, OSError):
        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if soft != resource.RLIM_INFINITY:
            # With a limit, locking what comes later would make some allocation fail in the middle of work. Locking
            # what is there now uses the limit up: no engine buffer, and SIGSEGV when the locked stack grows.
            return f"RLIMIT_MEMLOCK is {soft // 1024} KiB"
    if _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return f"mlockall: {os.strerror(ctypes.get_errno())}"
    return ""


def _drop_bounding(role: Role) -> bool:
    """The bounding set is the role's, where we may change it; whether we may."""
    if not int(_status()["CapEff"], 16) >> _SETPCAP & 1:
        return False
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        if not _mask(role) >> number & 1:
            _prctl(_PR_CAPBSET_DROP, number)
    return True


def _become(spec: Spec) -> None:
    if spec.uid < 0 or (os.geteuid() != 0 and os.geteuid() == spec.uid):
        return
    if os.geteuid() != 0:
        raise NotLockedDown(f"started as uid {os.geteuid()}, and {spec.role} must be {spec.uid}")
    # Whoever started us may want us to end with it (vecd dev): the kernel forgets that with the uid.
    death, parent = _parent_death_signal(), os.getppid()
    _prctl(_PR_SET_KEEPCAPS, 1)
    # ROOT: CAP_SETGID and CAP_SETUID, to stop being root.
    os.setgroups([])
    # ROOT: the same, for good: real, effective and saved.
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    _prctl(_PR_SET_KEEPCAPS, 0)
    _prctl(_PR_SET_PDEATHSIG, death)
    if death and os.getppid() != parent:
        raise NotLockedDown("whoever started this process is gone already")


def _parent_death_signal() -> int:
    number = ctypes.c_int()
    _prctl(_PR_GET_PDEATHSIG, ctypes.addressof(number))
    return number.value


def _set_capabilities(role: Role) -> None:
    """Effective and permitted: the role's, as far as we hold them; inheritable and ambient: none."""
    _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    keep = _mask(role) & int(_status()["CapPrm"], 16)
    header = struct.pack("=Ii", 0x20080522, 0)
    low, high = keep & 0xFFFFFFFF, keep >> 32
    if _libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _denied(role: Role) -> dict[str, tuple[int | None, int | None]]:
    return DENIED | {name: _OF_ROLES[name] for name in role.denied}


def _program(role: Role, machine: str) -> bytes:
    """The BPF filter of a role: another architecture or the x32 calls are denied whole, then number by number."""
    column, arch, _ = _MACHINES[machine]
    numbers = sorted(number for row in _denied(role).values() if (number := row[column]) is not None)
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _RET_EPERM), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _RET_EPERM)]
    for number in numbers:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_EPERM)]
    code.append((_RETURN, 0, 0, _RET_ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in code)


def _filter(role: Role) -> None:
    machine = platform.machine()
    if machine not in _MACHINES:
        raise NotLockedDown(f"no table of system calls for {machine}", hint=f"there are: {', '.join(_MACHINES)}")
    program = ctypes.create_string_buffer(_program(role, machine))
    fprog = struct.pack("@HP", (len(program) - 1) // 8, ctypes.addressof(program))
    if _libc.syscall(_MACHINES[machine][2], _SECCOMP_SET_MODE_FILTER, _FLAG_TSYNC, fprog) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _personality_is_denied() -> bool:
    """Asking for the personality always succeeds; EPERM is our filter."""
    return _libc.personality(0xFFFFFFFF) == -1 and ctypes.get_errno() == errno.EPERM


def _prctl(option: int, *args: int) -> int:
    result = _libc.prctl(option, *(ctypes.c_ulong(x) for x in (*args, 0, 0, 0, 0)[:4]))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")
    return int(result)


def _status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _mask(role: Role) -> int:
    return sum(1 << _CAPABILITIES[name] for name in role.capabilities)


def _has_any() -> bool:
    return int(_status()["CapEff"], 16) != 0


def _descriptors() -> set[int]:
    """Open descriptors; the one that listing them needs is closed again and not among them."""
    with os.scandir("/proc/self/fd") as entries:
        numbers = {int(entry.name) for entry in entries}
    return {fd for fd in numbers if _is_open(fd)}


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _describe(fd: int) -> str:
    try:
        return f"{fd} ({os.readlink(f'/proc/self/fd/{fd}')})"
    except OSError:
        return str(fd)


def _list(fds: set[int]) -> str:
    """As ranges: 0-5 7."""
    starts = sorted(fd for fd in fds if fd - 1 not in fds)
    ends = sorted(fd for fd in fds if fd + 1 not in fds)
    return " ".join(f"{a}-{b}" if a < b else str(a) for a, b in zip(starts, ends, strict=True))
