"""Cells of the model as people read them: "M[a][k] = rac", "f(k) = L3", "cur(k) = none"."""

from vecd.ppm.state import SOMEBODY, Cell, letters

_SHORT = {"status": "st", "current": "cur", "context": "ctx", "output": "out"}
_WORDS = {None: "none", SOMEBODY: "somebody"}


def text(cell: Cell) -> str:
    """A cell as the model writes it."""
    table, subject, object, _ = cell
    if table in ("M", "b"):
        return f"{table}[{subject}][{object}] = {value(cell)}"
    if table == "level":
        return f"f({object}) = {value(cell)}"
    if table == "live":
        return f"{object} is {value(cell)}"
    if table == "may":
        return f"f_v({object}) = {value(cell)}"
    if table == "key":
        return f"key slot of {subject} in {object} = {value(cell)}"
    return f"{_SHORT[table]}({object}) = {value(cell)}"


def value(cell: Cell) -> str:
    """The value alone, so that it can be said what it was, or would have to be."""
    table, _, _, found = cell
    if table in ("M", "b"):
        return letters(found) or "-"
    if table == "level":
        return f"L{found}" if found else "none"
    if table == "live":
        return "live" if found else "not live"
    if table == "may":
        return " ".join(f"L{level}" for level in sorted(found))
    if table == "key":
        return "loaded" if found else "none"
    return str(_WORDS.get(found, found))
