#!/usr/bin/env python3
"""Build the C extension modules of vecd: the real headers, through the real preprocessor, into cffi.

Nothing of a header is typed twice. For each row of MODULES the compiler preprocesses the row's headers, the lines
that came from our own headers (by the line markers) become the cdef, and the same headers and sources are compiled
around it. What Python sees is what C was compiled with; cffi lets the C compiler check every constant and offset.

The result lands beside the package, `vecd/_wire*.so` and so on, and is rebuilt only when a header, a source, this
script, the compiler or cffi changed; `--force` rebuilds anyway. To add a module, add a row.

The method is python-zstandard's (make_cffi.py).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cffi

ROOT = Path(__file__).resolve().parent.parent
CEXT = ROOT / "cext"
INCLUDE = CEXT / "include"
SOURCE = CEXT / "src"
PACKAGE = ROOT / "vecd"
BUILD = ROOT / "build" / "ffi"


@dataclass(frozen=True)
class Module:
    """One extension module: what Python may see (headers), what is compiled (sources), what is linked."""

    headers: tuple[str, ...]
    sources: tuple[str, ...]
    libraries: tuple[str, ...] = ()


# The matrices and the card word: the same C on both sides of them.
SHARED = ("status.c", "memfd.c", "shm.c", "card.c")

# The guard loads _shm alone and so has no parser of guest bytes in it; the guest loads _wire alone.
MODULES: dict[str, Module] = {
    "_wire": Module(
        headers=("vec/status.h", "vec/attribute.h", "vec/wire.h"),
        sources=("status.c", "wire.c"),
    ),
    "_shm": Module(
        headers=("vec/status.h", "vec/attribute.h", "vec/shm.h", "vec/card.h"),
        sources=SHARED,
    ),
    "_card": Module(
        headers=(
            *("vec/status.h", "vec/attribute.h", "vec/wire.h", "vec/shm.h", "vec/card.h"),
            *("vec/arena.h", "vec/driver.h", "vec/audit.h", "vec/pump.h"),
        ),
        sources=(
            *SHARED,
            *("wire.c", "locked.c", "arena.c", "vault.c", "driver_soft.c"),
            *("credit.c", "slot.c", "conn.c", "receive.c", "send.c"),
            *("request.c", "batch.c", "step.c", "turn.c", "share.c", "cost.c", "grid.c"),
            *("mailbox.c", "commands.c", "pump.c"),
            *("audit.c", "record.c"),
        ),
        libraries=("crypto",),
    ),
}

DEFINES = ("-D_GNU_SOURCE", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2")
COMPILE = (
    "-std=gnu11",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
    "-Wall",
    "-Wextra",
    "-Werror",
)
# cffi's own glue is not ours to warn about: it leaves `self` unused and fields out.
GLUE = ("-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-unused-function", "-Wno-cast-function-type")
LINK = ("-shared", "-Wl,-z,relro,-z,now,-z,noexecstack")

_MARKER = re.compile(r'^#\s*(?:line\s+)?\d+\s+"([^"]*)"')


def compiler() -> list[str]:
    """The C compiler as a command: $CC, or cc."""
    return shlex.split(os.environ.get("CC", "cc"))


def preamble(module: Module) -> str:
    """The include lines that glue and preprocessor both see."""
    return "".join(f'#include "{header}"\n' for header in module.headers)


def declarations(module: Module) -> str:
    """The row's headers after the preprocessor, without a line that came from a system header."""
    done = subprocess.run(
        [*compiler(), "-E", "-std=gnu11", *DEFINES, "-O2", f"-I{INCLUDE}", "-"],
        input=preamble(module),
        capture_output=True,
        text=True,
        check=True,
    )
    ours, lines = False, []
    for line in done.stdout.splitlines():
        marker = _MARKER.match(line)
        if marker:
            ours = Path(marker.group(1)).is_relative_to(INCLUDE)
        elif ours and line.strip() and not line.startswith("#"):
            lines.append(line)
    return "\n".join(lines) + "\n"


def fingerprint(module: Module) -> str:
    """Changes whenever the built module could."""
    digest = hashlib.sha256()
    files = [Path(__file__), *sorted(CEXT.rglob("*.h")), *(SOURCE / name for name in module.sources)]
    for path in files:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    compiled_by = subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    digest.update(repr((module, compiler(), compiled_by, sys.version, version("cffi"))).encode())
    return digest.hexdigest()


def build(name: str, module: Module, force: bool = False) -> bool:
    """The module is there and current; true if it had to be built. Raises CalledProcessError if it does not compile."""
    target = PACKAGE / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    stamp = BUILD / f"{name}.stamp"
    wanted = fingerprint(module)
    if not force and target.exists() and stamp.exists() and stamp.read_text() == wanted:
        return False

    work = BUILD / name
    work.mkdir(parents=True, exist_ok=True)
    ffi = cffi.FFI()
    ffi.cdef(declarations(module))
    ffi.set_source(f"vecd.{name}", preamble(module))
    glue = work / f"glue{name}.c"
    with contextlib.redirect_stdout(io.StringIO()):
        ffi.emit_c_code(str(glue))

    python = [f"-I{sysconfig.get_path(which)}" for which in ("include", "platinclude")]
    objects = []
    for path in (glue, *(SOURCE / source for source in module.sources)):
        flags = [*GLUE, *python] if path is glue else []
        objects.append(str(work / f"{path.stem}.o"))
        command = [*compiler(), *COMPILE, *flags, *DEFINES, f"-I{INCLUDE}", f"-I{SOURCE}"]
        subprocess.run([*command, "-c", str(path), "-o", objects[-1]], check=True)
    libraries = [f"-l{library}" for library in module.libraries]
    fresh = work / target.name
    subprocess.run([*compiler(), *LINK, *objects, *libraries, "-o", str(fresh)], check=True)

    # Renamed over the old one: a process that has the old module mapped keeps it whole.
    stamp.unlink(missing_ok=True)
    os.replace(fresh, target)
    stamp.write_text(wanted)
    return True


def main(argv: list[str] | None = None) -> int:
    """Build the named modules (all of them without a name); 0, or 1 when one does not compile."""
    parser = argparse.ArgumentParser(description="Build the C extension modules of vecd in place.")
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(MODULES)}; default: all")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    wanted = parser.parse_args(argv)
    for name in wanted.name:
        if name not in MODULES:
            parser.error(f"no module {name}: there are {', '.join(MODULES)}")

    BUILD.mkdir(parents=True, exist_ok=True)
    failed = False
    with open(BUILD / "lock", "w") as lock:
        # Two builds at once (make -j, two terminals) take turns; the second then finds nothing to do.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in wanted.name or MODULES:
            try:
                built = build(name, MODULES[name], wanted.force)
            except (subprocess.CalledProcessError, cffi.CDefError, cffi.FFIError, OSError) as error:
                said = getattr(error, "stderr", None) or ""
                print(f"vecd.{name}: not built: {error}\n{said}", file=sys.stderr)
                failed = True
                continue
            print(f"vecd.{name}: {'built' if built else 'unchanged'}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
