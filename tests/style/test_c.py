"""The C sources compile without a warning under both compilers, and every header on its own."""

import shutil
import subprocess
import sys

import pytest

from tests.style.tree import ROOT, relative, under

sys.path.insert(0, str(ROOT / "cext"))
import build_ffi

FLAGS = [*build_ffi.COMPILE, *build_ffi.DEFINES, f"-I{build_ffi.INCLUDE}", f"-I{build_ffi.SOURCE}"]
SOURCES = under("cext", suffix=".c")
HEADERS = under("cext", suffix=".h")


def compiler(name: str) -> object:
    missing = shutil.which(name) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"condition not met: {name} is installed"))


def compiles(cc: str, source: str) -> None:
    command = [cc, *FLAGS, "-fsyntax-only", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cc", [compiler("gcc"), compiler("clang")])
@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_source_compiles_without_a_warning(cc: str, path) -> None:
    compiles(cc, str(path))


@pytest.mark.parametrize("path", HEADERS, ids=relative)
def test_a_header_needs_no_other_before_it(path, tmp_path) -> None:
    (tmp_path / "alone.c").write_text(f'#include "{path}"\nextern int nothing;\n')
    compiles("gcc", str(tmp_path / "alone.c"))
