"""Layers, forbidden ways and doors: what may import what. The three tables are in pyproject.toml, [tool.vecd]."""

import sys
from fnmatch import fnmatchcase

import pytest

from tests.style.tree import imports, modules, reach, settings

TABLES = settings()["tool"]["vecd"]
ROWS = [(row["name"], package) for row in TABLES["layers"] for package in row["packages"]]
RANK = {row["name"]: rank for rank, row in enumerate(TABLES["layers"])}


def place(module: str) -> tuple[int, str]:
    """Rank of the layer and name of the package, by the longest row that fits."""
    fitting = [row for row in ROWS if module == row[1] or module.startswith(row[1] + ".")]
    assert fitting, f"{module} is in no row of [[tool.vecd.layers]]: say which layer it belongs to"
    layer, package = max(fitting, key=lambda row: len(row[1]))
    return RANK[layer], ".".join(package.split(".")[:2])


def ours(name: str) -> bool:
    return name in modules() and name != "vecd"


@pytest.mark.parametrize("module", sorted(name for name in modules() if name != "vecd"))
def test_imports_only_go_down(module: str) -> None:
    rank, package = place(module)
    wrong = [
        target
        for target in imports(module)
        if ours(target) and not (place(target)[0] < rank or place(target)[1] == package)
    ]
    assert not wrong, f"{module} ({TABLES['layers'][rank]['name']}) imports {', '.join(wrong)}, which is not below it"


@pytest.mark.parametrize(("who", "whom"), [(who, whom) for who, row in TABLES["never"].items() for whom in row])
def test_it_cannot_reach(who: str, whom: str) -> None:
    starts = [name for name in modules() if fnmatchcase(name, who)]
    assert starts, f"[tool.vecd.never] names {who}, and no module is called that"
    for start in starts:
        asked = reach(start)
        for name in asked:
            if name == whom or name.startswith(whom + "."):
                way, step = [name], name
                while asked[step]:
                    step = asked[step]
                    way.append(step)
                pytest.fail(f"{start} must not reach {whom}: {' <- '.join(way)}")


@pytest.mark.parametrize("module", sorted(modules()))
def test_others_code_comes_in_by_its_door(module: str) -> None:
    doors = TABLES["doors"]
    for target in imports(module):
        guarded = next((name for name in doors if target == name or target.startswith(name + ".")), None)
        if guarded:
            assert any(fnmatchcase(module, door) for door in doors[guarded]), (
                f"{module} imports {target}; the doors of {guarded} are {', '.join(doors[guarded])}"
            )
        elif target.split(".")[0] not in {*sys.stdlib_module_names, "vecd"}:
            pytest.fail(f"{module} imports {target}, which has no door in [tool.vecd.doors]")


def test_no_row_is_left_over() -> None:
    """A package that is gone leaves the tables, too."""
    gone = [package for _, package in ROWS if package not in modules()]
    unused = [
        name
        for name in TABLES["doors"]
        if not any(
            target == name or target.startswith(name + ".") for module in modules() for target in imports(module)
        )
    ]
    assert not gone and not unused
