"""What the style tests read: the files of this checkout, its Python modules and what they import."""

import ast
import functools
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {".git", ".venv", "build", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file that is in the project: what git tracks or would, or, without git, all but what is generated."""
    asked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if asked.returncode == 0:
        names = asked.stdout.decode().split("\0")
        return tuple(sorted(ROOT / name for name in names if name and (ROOT / name).is_file()))
    return tuple(
        sorted(
            path
            for path in ROOT.rglob("*")
            if path.is_file() and not GENERATED & set(path.parts) and path.suffix != ".so"
        )
    )


def under(*folders: str, suffix: str = "") -> list[Path]:
    """The project's files in these top-level folders, by ending."""
    return [path for path in files() if relative(path).split("/")[0] in folders and path.name.endswith(suffix)]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted name of every module of vecd, and its file."""
    found = {}
    for path in under("vecd", suffix=".py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


@functools.cache
def imports(name: str) -> frozenset[str]:
    """Every module that `name` imports, inside functions, too; `from p import m` counts as p and, if it is one, p.m."""
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return frozenset(_targets(parsed(path), package))


def _targets(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in modules() or inner.startswith("vecd._"):
                    yield inner
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield from _dynamic(node.args[0], tree)


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _dynamic(argument: ast.expr, tree: ast.Module) -> Iterator[str]:
    """import_module("a.b") is a.b, import_module(f"a.{x}") all below a; otherwise whatever modules the file spells."""
    if isinstance(argument, ast.Constant):
        yield argument.value
    elif isinstance(argument, ast.JoinedStr) and isinstance(argument.values[0], ast.Constant):
        prefix = argument.values[0].value
        yield from (name for name in modules() if name.startswith(prefix))
    else:
        spelled = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        yield from spelled & modules().keys()


def reach(name: str) -> dict[str, str]:
    """All modules of vecd that are loaded when `name` is, each with the module that asked for it."""
    seen: dict[str, str] = {name: ""}
    queue = [name]
    while queue:
        current = queue.pop()
        wanted = {*imports(current), current.rpartition(".")[0]}
        for target in wanted:
            for loaded in _chain(target):
                if loaded not in seen:
                    seen[loaded] = current
                    if loaded in modules():
                        queue.append(loaded)
    return seen


def _chain(target: str) -> list[str]:
    """a.b.c also loads a and a.b."""
    parts = target.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]
