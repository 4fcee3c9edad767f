"""What a process frees is overwritten: told by trial, and a card process starts itself again until it is so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vecd.base import heap

ROOT = Path(__file__).resolve().parents[2]
MALLOC = "malloc leaves what was freed as it was"
PYTHON = "Python leaves what was freed as it was"


def run(*args, more=None):
    plain = {name: value for name, value in os.environ.items() if name not in heap.environment()}
    command = [sys.executable, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT, env=plain | (more or {}))


@pytest.mark.parametrize(
    "more, why",
    [
        ({}, MALLOC),
        ({"PYTHONMALLOC": "malloc"}, MALLOC),
        ({"GLIBC_TUNABLES": "glibc.malloc.perturb=255"}, MALLOC),
        ({"GLIBC_TUNABLES": ":".join(heap.TUNABLES)}, PYTHON),
        (heap.environment(), ""),
    ],
)
def test_it_is_told_by_trial(more, why):
    for _ in range(3):
        assert run("-c", "from vecd.base import heap; print(heap.why_not())", more=more).stdout == f"{why}\n"


def test_a_process_starts_again_with_the_same_pid_and_arguments_and_only_once():
    code = (
        "import os, sys\n"
        "from vecd.base import heap\n"
        "print(os.getpid(), sys.argv[1:], os.environ.get('GLIBC_TUNABLES'), flush=True)\n"
        "heap.settle()\n"
        "print(heap.why_not() == '')\n"
    )
    first, second, good = run("-c", code, "a b", more={"GLIBC_TUNABLES": "glibc.malloc.check=0"}).stdout.splitlines()
    assert first.replace("glibc.malloc.check=0", "glibc.malloc.check=0:" + ":".join(heap.TUNABLES)) == second
    assert "['a b']" in second and good == "True"
    assert len(run("-c", code, more=heap.environment()).stdout.splitlines()) == 2


def test_a_card_that_cannot_have_it_ends_with_77(tmp_path):
    (tmp_path / "etc/vecd").mkdir(parents=True)
    (tmp_path / "etc/vecd/vecd.toml").write_text("[[card]]\nname = 'c0'\n")
    # Told to ignore its environment, Python does not hear of it.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import vecd.__main__ as m; "
    code += f"sys.exit(m.main(['card', '--name', 'c0', '--dir', {str(tmp_path)!r}]))"
    done = run("-E", "-c", code)
    assert done.returncode == 77 and PYTHON in done.stderr and "without -I and -E" in done.stderr
