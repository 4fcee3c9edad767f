"""The suite again, with the C side built under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.machine import ROOT

sys.path.insert(0, str(ROOT / "cext"))
import build_ffi

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g")
FILES = ("test_operations.py", "test_connections.py", "test_rights.py", "test_sharing.py")


def library() -> str:
    """The sanitizer's library, or "" where the compiler has none."""
    asked = [*build_ffi.compiler(), "-print-file-name=libasan.so"]
    name = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return name if Path(name).is_absolute() else ""


@pytest.mark.limit(300)
@pytest.mark.skipif(not library(), reason="condition not met: the compiler has AddressSanitizer")
def test_no_access_and_no_behaviour_that_c_leaves_undefined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("COMPILE", (*build_ffi.COMPILE, *SANITIZE)),
        ("LINK", (*build_ffi.LINK, *SANITIZE)),
        ("PACKAGE", tmp_path),
        ("BUILD", tmp_path / "work"),
    ):
        monkeypatch.setattr(build_ffi, name, value)
    assert build_ffi.build("_card", build_ffi.MODULES["_card"], force=True)
    suite = [str(ROOT / "tests" / "conformance" / name) for name in FILES]
    environment = {
        **os.environ,
        "VEC_TEST_CARD_MODULE": str(next(tmp_path.glob("_card*.so"))),
        "VEC_TEST_CARD_PRELOAD": library(),
        # Python keeps what it has until the end.
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-k", "not peer_opens and not sanitizers", *suite],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
