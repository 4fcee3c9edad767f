"""python -m tests.integration.without_memfd_secret ROLE ...: vecd on a kernel that seems to have no memfd_secret.

The system-call filter is inherited by everything that is started. The key arena then is locked memory that root
can read, so that a test can look into it.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import runpy
import struct
import sys

# The same number on every architecture.
MEMFD_SECRET = 447
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
AT_NUMBER, AT_ARCHITECTURE = 0, 4


def deny(number: int) -> None:
    """The call answers ENOSYS, here and in all that is started from here."""
    rows = (
        (LOAD_WORD, 0, 0, AT_ARCHITECTURE),
        (JUMP_EQUAL, 0, 3, ARCHITECTURES[platform.machine()]),
        (LOAD_WORD, 0, 0, AT_NUMBER),
        (JUMP_EQUAL, 0, 1, number),
        (RETURN, 0, 0, ERRNO | errno.ENOSYS),
        (RETURN, 0, 0, ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0),
    ):
        if libc.prctl(*(ctypes.c_ulong(each) for each in arguments)):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    deny(MEMFD_SECRET)
    sys.argv[0] = "vecd"
    runpy.run_module("vecd", run_name="__main__", alter_sys=True)
