"""Compile a C test against the project's own sources."""

import os
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "cext" / "src"
HERE = ROOT / "tests" / "cext"
STRICT = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'cext' / 'include'}", f"-I{SOURCE}"]


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def build(target: Path, *sources: Path, flags: tuple[str, ...] = ()) -> Path:
    """The program is there; a compiler error fails the test with what the compiler said."""
    done = subprocess.run(
        [*compiler(), *STRICT, *flags, *map(str, sources), "-o", str(target)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return target
