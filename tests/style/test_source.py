"""What every source file keeps to: a docstring, a length one can read, a reason for root, nothing of one machine."""

import ast
import re

import pytest

from tests.style.tree import files, modules, parsed, relative, settings, under

LINES, TEST_LINES = 450, 600
LONGER = settings()["tool"]["vecd"]["longer"]

# What needs a privilege. The line or the few above it say what for; `grep -rn ROOT: vecd/` is the audit list.
PRIVILEGED = {
    "os": {
        "setuid",
        "seteuid",
        "setreuid",
        "setresuid",
        "setgid",
        "setegid",
        "setregid",
        "setresgid",
        "setgroups",
        "initgroups",
        "chown",
        "fchown",
        "lchown",
        "chroot",
        "mknod",
    },
}
MACHINE = re.compile(
    r"/(?:work|root|farm|home/[a-z]+)/|/tmp/bash_jobs|https?://(?:localhost|127\.|10\.|192\.168\.)\S*simple"
)


def python() -> list:
    return under("vecd", "tests", "bench", "cext", suffix=".py")


def ids(paths: list) -> list[str]:
    return [relative(path) for path in paths]


@pytest.mark.parametrize("path", python(), ids=ids(python()))
def test_a_module_says_what_it_is_for(path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree) or not tree.body, f"{relative(path)} has no docstring"


@pytest.mark.parametrize("path", [path for path in files() if path.suffix in (".py", ".c", ".h")], ids=relative)
def test_a_file_can_be_read_in_one_go(path) -> None:
    allowed, _reason = LONGER.get(relative(path), (TEST_LINES if relative(path).startswith("tests/") else LINES, ""))
    count = len(path.read_text().splitlines())
    assert count <= allowed, f"{relative(path)} has {count} lines, {allowed} are allowed: split it, or give a reason"


def test_no_reason_for_length_is_left_over() -> None:
    for name, (allowed, reason) in LONGER.items():
        found = [path for path in files() if relative(path) == name]
        assert found and reason and LINES < len(found[0].read_text().splitlines()) <= allowed, name


@pytest.mark.parametrize("path", sorted(modules().values()), ids=relative)
def test_root_is_asked_for_with_a_reason(path) -> None:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if "ROOT:" in line:
            assert len(line.partition("ROOT:")[2].split()) >= 3, f"{relative(path)}:{number}: what for?"
    for node in ast.walk(parsed(path)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            if node.func.attr in PRIVILEGED.get(node.func.value.id, ()):
                above = lines[max(0, node.lineno - 6) : node.end_lineno]
                assert any("ROOT:" in line for line in above), f"{relative(path)}:{node.lineno}: no ROOT: comment"


@pytest.mark.parametrize("path", files(), ids=relative)
def test_nothing_of_one_machine_is_in_it(path) -> None:
    if relative(path) == "tests/style/test_source.py":
        return
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    found = MACHINE.search(text)
    assert not found, f"{relative(path)}: {found[0]}"


@pytest.mark.parametrize("path", [path for path in files() if path.suffix in (".py", ".c", ".h")], ids=relative)
def test_nothing_is_left_to_do(path) -> None:
    words = [a + b for a, b in (("TO", "DO"), ("FIX", "ME"), ("NotImplemented", "Error"))]
    for word in words:
        assert word not in path.read_text(), f"{relative(path)}: {word}"


@pytest.mark.parametrize("path", under("tests", suffix=".py"), ids=relative)
def test_a_skip_states_its_condition(path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "pytest.skip",
            "pytest.mark.skip",
            "pytest.mark.skipif",
        ):
            said = [each.value for each in node.keywords if each.arg == "reason"] or node.args[:1]
            text = ast.unparse(said[0]) if said else ""
            assert "condition not met: " in text, f"{relative(path)}:{node.lineno}: {text or 'no reason'}"
