"""The pinned versions are complete, exact and without addresses; the set-up names every package with a reason."""

import re
from importlib import metadata

import pytest

from tests.style.tree import ROOT, settings

LINE = re.compile(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    found = {}
    for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, f"constraints.txt: {line!r} is not name==version"
            found[normal(match[1])] = match[2]
    return found


def needed() -> set[str]:
    """What pyproject.toml asks for, and what that asks for in turn, on this Python."""
    project = settings()["project"]
    queue = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    seen: set[str] = set()
    while queue:
        requirement = queue.pop()
        # An extra that we do not ask for is not needed; another marker is judged by what is installed.
        if "extra ==" in requirement:
            continue
        name = normal(re.match(r"[A-Za-z0-9._-]+", requirement)[0])
        if name in seen:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            assert ";" in requirement, f"{name} is needed and not installed"
            continue
        seen.add(name)
        queue.extend(requires)
    return seen


def test_every_installed_version_is_the_pinned_one() -> None:
    pinned = pins()
    installed = {name: metadata.version(name) for name in needed()}
    assert {name: pinned.get(name) for name in installed} == installed


def test_the_constraints_hold_no_address() -> None:
    text = (ROOT / ".ci" / "constraints.txt").read_text()
    assert "://" not in text and "--" not in text and "@" not in text


@pytest.mark.parametrize("name", sorted(settings()["tool"]["vecd"]["doors"]))
def test_what_has_a_door_is_declared(name: str) -> None:
    import_to_package = {"tpm2_pytss": "tpm2-pytss", "cryptography": "cryptography"}
    if name in import_to_package:
        project = settings()["project"]
        assert import_to_package[name] in [*project["dependencies"], *project["optional-dependencies"]["host"]]
    else:
        assert name == "sqlite3" or name.startswith("vecd._")
