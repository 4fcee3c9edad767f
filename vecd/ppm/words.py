"""Cells of the model as people read them: "M[a][k] = rac", "f(k) = L3", "cur(k) = none"."""

from vecd.ppm.state import SOMEBODY, Cell, letters

_SHORT = {"status": "st", "current": "cur", "context": "ctx", "output": "out"}
_WORDS = {None: "none", SOMEBODY: "somebody"}


def text(cell: Cell) -> str:
    """A cell as the model writes it."""
    table, subject, object, value = cell
    if table in ("M", "b"):
        return f"{table}[{subject}][{object}] = {letters(value) or '-'}"
    if table == "level":
        return f"f({object}) = {f'L{value}' if value else 'none'}"
    if table == "live":
        return f"{object} is {'live' if value else 'not live'}"
    if table == "may":
        return f"f_v({object}) = {' '.join(f'L{level}' for level in sorted(value))}"
    if table == "key":
        return f"{subject} has {'a' if value else 'no'} key slot in {object}"
    return f"{_SHORT[table]}({object}) = {_WORDS.get(value, value)}"
