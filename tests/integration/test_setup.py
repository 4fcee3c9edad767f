"""What .ci/setup says where it cannot go on: the thing and the next step. In a copy of what it reads."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = ("Makefile", "pyproject.toml", "README.md", ".ci", "cext", "vecd")
# Nothing is found anywhere, as on a machine without network.
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
SETUP_S = 120


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout, never set up, whose path has a space."""
    place = tmp_path / "a checkout"
    place.mkdir()
    for name in READ:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("*.so", "*.o", "__pycache__"))
        else:
            shutil.copy(source, place)
    return place


def setup(place: Path, **variables: str) -> str:
    """What `make setup` says on stderr; it failed."""
    variables = {"SYSTEM_PACKAGES": "present", "PYTHON": sys.executable, **variables}
    done = subprocess.run(
        ["make", "setup"],
        cwd=place,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SETUP_S,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def test_without_an_index_the_pinned_versions_are_asked_for_all_the_same(copy: Path) -> None:
    said = setup(copy, **NO_INDEX)
    assert "no index answers" in said and "(constraint) pip==" in said


def test_an_interpreter_that_is_not_there_is_named(copy: Path) -> None:
    said = setup(copy, PYTHON="/no/such/python3.9")
    assert "there is no /no/such/python3.9" in said and "make setup PYTHON=" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="condition not met: not root, who may write everywhere")
def test_a_checkout_that_cannot_be_written_is_named(copy: Path) -> None:
    copy.chmod(0o555)
    assert f"{copy}, of user" in setup(copy)


def test_the_packages_that_are_missing_are_named_before_anything_is_done(copy: Path, tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    # A machine without swtpm, where nothing can be installed: as root, or as somebody whom sudo refuses.
    scripts = {"dpkg-query": '[ "${@: -1}" != swtpm ] && echo installed', "sleep": "exit 0"}
    for name, script in {**scripts, "apt-get": "exit 100", "sudo": "exit 1"}.items():
        (commands / name).write_text(f"#!/bin/bash\n{script}\n")
        (commands / name).chmod(0o755)
    said = setup(copy, SYSTEM_PACKAGES="", PATH=f"{commands}:{os.environ['PATH']}")
    assert "swtpm" in said.splitlines()[0] and not (copy / ".venv").exists()
