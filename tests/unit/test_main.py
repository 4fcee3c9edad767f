"""python -m vecd: roles, exit codes, and that a card's libcrypto is prepared before anything loads it."""

import subprocess
import sys
from pathlib import Path

import pytest

import vecd
from vecd.__main__ import ROLES

ROOT = Path(__file__).resolve().parents[2]


def run(*args):
    return subprocess.run([sys.executable, "-m", "vecd", *args], capture_output=True, text=True, timeout=30, cwd=ROOT)


def test_help_lists_every_role():
    done = run("--help")
    assert done.returncode == 0
    for role, (_, what) in ROLES.items():
        assert role in done.stdout and what in done.stdout


def test_version_is_told():
    assert run("--version").stdout == f"vecd {vecd.__version__}\n"


@pytest.mark.parametrize("args", [[], ["gaurd"], ["--dir", "x"]])
def test_an_unknown_role_is_a_usage_error_with_the_list(args):
    done = run(*args)
    assert done.returncode == 2
    for role in ROLES:
        assert role in done.stderr


def test_a_bad_configuration_ends_with_78(tmp_path):
    (tmp_path / "etc/vecd").mkdir(parents=True)
    (tmp_path / "etc/vecd/vecd.toml").write_text("[brokr]")
    done = run("broker", "--dir", str(tmp_path))
    assert done.returncode == 78 and "did you mean 'broker'?" in done.stderr


def test_a_mistake_of_ours_ends_with_70_and_names_its_place():
    code = "import sys, vecd.__main__ as m\nm.ROLES['guard'] = ('json', '')\nsys.exit(m.main(['guard']))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.returncode == 70 and "AttributeError at" in done.stderr


def test_what_is_not_locked_down_ends_with_77():
    code = (
        "import sys, types, vecd.__main__ as m\n"
        "from vecd.base import sandbox\n"
        "sandbox._filter = lambda role: None\n"
        "x = types.ModuleType('x'); x.main = lambda argv: sandbox.enter(sandbox.spec('guard')) and 0\n"
        "sys.modules['x'] = x; m.ROLES['guard'] = ('x', '')\n"
        "sys.exit(m.main(['guard']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.returncode == 77 and "NOT_LOCKED_DOWN" in done.stderr and "seccomp" in done.stderr


def test_nothing_has_loaded_libcrypto_before_a_card_prepares_it():
    code = (
        "import sys, vecd.__main__ as m\n"
        "import types\n"
        "soft = types.ModuleType('vecd.cards.soft')\n"
        "def prepare():\n"
        "    maps = open('/proc/self/maps').read()\n"
        "    print([n for n in ('_hashlib', '_ssl', 'libcrypto') if n in sys.modules or n in maps])\n"
        "    raise SystemExit(0)\n"
        "soft.prepare = prepare\n"
        "sys.modules['vecd.cards.soft'] = soft\n"
        "m.main(['card', '--name', 'c0'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr
