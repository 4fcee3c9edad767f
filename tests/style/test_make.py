"""Every make target is in `make help`, and every one that a document names exists."""

import re
import subprocess

from tests.style.tree import ROOT, files, relative

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def test_help_is_the_default_and_lists_every_target() -> None:
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", said, re.MULTILINE)) == TARGETS


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert phony and set(phony[1].replace("\\", " ").split()) == TARGETS


def test_whoever_uses_the_environment_sets_it_up_first() -> None:
    rules = re.findall(r"^([a-z-]+):([^\n#]*)##.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    assert len(rules) == len(TARGETS)
    for target, needs, recipe in rules:
        if ".venv/bin" in recipe or "$(PY)" in recipe:
            assert "setup" in needs.split(), target


def test_documents_name_only_targets_that_exist() -> None:
    for path in files():
        if path.suffix == ".md" or relative(path).startswith(".ci/"):
            for target in re.findall(r"`make ([a-z-]+)", path.read_text()):
                assert target in TARGETS, f"{relative(path)} says make {target}"
