"""The tables of docs/model.md, as data."""

import re
from pathlib import Path

from vecd.ppm.request import Request

TEXT = (Path(__file__).parents[2] / "docs" / "model.md").read_text()


def tables(heading):
    """The tables under a heading, each a list of rows, each a list of cells; the header row first."""
    section = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    body = next(part for part in section if part.splitlines()[0].strip() == heading)
    found, rows = [], []
    for line in [*body.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            found.append([row for row in rows if not set("".join(row)) <= set("-")])
            rows = []
    return found


def request(words):
    """ "R11 a k 2" as a request; a dash is nobody."""
    rule, subject, object, *rest = words.split()
    match rule, rest:
        case (("R9" | "R10"), [on, attribute]):
            # As the page writes it: R9 m A a c, the manager gives A on a the attribute c.
            return Request(rule, subject, on, attribute, to=object)
        case "R6", [attribute]:
            return Request(rule, subject, object, attribute)
        case "R11", [level]:
            return Request(rule, subject, object, level=int(level))
        case "R12", [following]:
            return Request(rule, subject, object, next=None if following == "-" else following)
        case _, []:
            return Request(rule, subject, object)
    raise ValueError(f"no request: {words}")


def requests(cell):
    return [request(words) for words in cell.split("; ")]
