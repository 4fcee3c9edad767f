"""What a process frees is overwritten: for a card, whose libraries leave secrets behind in freed memory.

A card lends its seeds for one operation (protocol/suites.py). OpenSSL overwrites a key that it frees; Python overwrites
nothing, and so HPKE's shared secret, with which a recorded message 7 could be opened, stays behind as a freed `bytes`
object. No code of ours can reach that copy. Two settings can, and both are read when a process starts:

* PYTHONMALLOC=malloc: Python's objects come from malloc, like everybody's;
* glibc's tunables: `perturb` fills what is freed, and a `tcache_count` of 0 switches the caches off that keep freed
  blocks without filling them.

They make Python in the card process slower and leave the data path alone, which allocates nothing (docs/cards.md, "What
is freed"). They do not reach a thread's stack (Card.wipe_stack) and the last 8 bytes of a freed block.
"""

from __future__ import annotations

import ctypes
import os
import sys

# 255: freed memory is full of ones, fresh memory of zeros.
TUNABLES = ("glibc.malloc.tcache_count=0", "glibc.malloc.perturb=255")
_TUNABLES, _MALLOC = "GLIBC_TUNABLES", "PYTHONMALLOC"

# glibc keeps its links in the first bytes of a freed block, and does not fill the last ones.
_LINKS, _TAIL = 32, 8
# One that would be cached, one that would not.
_SIZES = (600, 4000)
_MARK = 0xA5


def environment(given: dict[str, str] | None = None) -> dict[str, str]:
    """What must stand in the environment of a process at its start; tunables that are given stay, before ours."""
    tunables = [t for t in (given or {}).get(_TUNABLES, "").split(":") if t and t not in TUNABLES]
    return {_TUNABLES: ":".join([*tunables, *TUNABLES]), _MALLOC: "malloc"}


def settle() -> None:
    """This process has these settings: it goes on, or starts again from its first line, with the same pid."""
    wanted = environment(dict(os.environ))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted})


def why_not() -> str:
    """Empty when freed memory is overwritten, by trial; else where it is not."""
    if any(_block_survives(size) for size in _SIZES):
        return "malloc leaves what was freed as it was"
    return "Python leaves what was freed as it was" if _object_survives() else ""


def _block_survives(size: int) -> bool:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    # A run, for reading allocates: single bytes of this value may stand there by then. Made before, or it could itself.
    run = bytes([_MARK]) * 16
    block = libc.malloc(size)
    ctypes.memset(block, _MARK, size)
    libc.free(block)
    return run in ctypes.string_at(block + _LINKS, size - _LINKS - _TAIL)


def _object_survives() -> bool:
    # Mirrored, so that what is compared with is no second copy.
    object_ = os.urandom(200)
    mirrored, at = object_[::-1], id(object_) + bytes.__basicsize__ - 1
    del object_
    return ctypes.string_at(at + _LINKS, 100) == mirrored[::-1][_LINKS : _LINKS + 100]
