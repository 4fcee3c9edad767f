"""
The literal rules R1 to R11 of Xu et al. 2017 as a table, and each correction as a list of edits to that table.

The paper's Table 1 is lost, so `LITERAL` is our reading of its prose, section III.C and the proofs of R4 and R11 in
IV.A. Where the prose leaves a gap the reading is the kind one: R11 wipes the engine on the way down, as the text around
Fig. 5 says, though the rule does not. Data operations are no rules of the paper: each asks for the right that the paper
has for it, and nothing else.

`EDITS` has an entry for each hole and one for our choices where the paper has none. All of them applied to `LITERAL`
give `CORRECTED`, and that is vecd.ppm.rules: tests/model/literal_rules/test_tables.py compares them answer by answer.
"""

from typing import NamedTuple

from tests.model.literal_rules.language import Row, Table

ANYTHING = ("mU", "mI", "mK")
BORN = ("live += o", "f(o) := l", "M[s][o] += e", "st(o) := free")

LITERAL = Table(
    rows={
        # Get an attribute. A card comes up to the level of who connects.
        "R1 u i": Row("R1", ("UI",), ("c in M[s][o]",), ("b[s][o] += c",)),
        "R1 i k": Row(
            "R1",
            ("IK",),
            ("c in M[s][o]", "f(s) in f_v(o)"),
            ("b[s][o] += c", "f(o) := f(s)", "st(o) := control"),
        ),
        "R2 u i": Row("R2", ("UI",), ("a in M[s][o]", "c in b[s][o]", "f(o) >= f(s)"), ("b[s][o] += a",)),
        "R2 i k": Row("R2", ("IK",), ("a in M[s][o]", "c in b[s][o]", "f(o) >= f(s)"), ("b[s][o] += a",)),
        "R3 u i": Row("R3", ("UI",), ("w in M[s][o]", "c in b[s][o]", "f(o) = f(s)"), ("b[s][o] += w",)),
        "R3 i k": Row("R3", ("IK",), ("w in M[s][o]", "c in b[s][o]", "f(o) = f(s)"), ("b[s][o] += w",)),
        "R4 u i": Row("R4", ("UI",), ("r in M[s][o]", "c in b[s][o]", "f(o) <= f(s)"), ("b[s][o] += r",)),
        "R4 i k": Row("R4", ("IK",), ("r in M[s][o]", "c in b[s][o]", "f(o) <= f(s)"), ("b[s][o] += r",)),
        "R5": Row("R5", ANYTHING, ("e in M[s][o]", "f(o) <= f(s)"), ("b[s][o] += e",)),
        # Give back the one that is named.
        "R6 u i": Row("R6", ("UI",), ("x in b[s][o]",), ("b[s][o] -= x",), ("x in rwac",)),
        "R6 i k": Row("R6", ("IK",), ("x in b[s][o]",), ("b[s][o] -= x",), ("x in rwac",)),
        "R6 m": Row("R6", ANYTHING, ("x in b[s][o]",), ("b[s][o] -= x",), ("x in e",)),
        # Create and delete. H takes up (free, o).
        "R7 u": Row("R7", ("mU",), ("not live(o)", "l in f_v(o)"), BORN),
        "R7 i": Row("R7", ("mI",), ("not live(o)", "l in f_v(o)"), ("own(o) := t", *BORN)),
        "R7 k": Row("R7", ("mK",), ("not live(o)", "l in f_v(o)"), BORN),
        "R8": Row("R8", ANYTHING, ("st(o) = free",), ("live -= o",)),
        # M alone, for anybody and anything.
        "R9": Row("R9", ANYTHING, (), ("M[t][o] += x",)),
        "R10 i": Row("R10", ("mI",), (), ("M[t][o] -= x",)),
        "R10 k": Row("R10", ("mU", "mK"), (), ("M[t][o] -= x",)),
        # The level moves within f_v while R* holds.
        "R11 k": Row(
            "R11",
            ("IK", "mK"),
            ("l in f_v(o)", "R*"),
            ("ctx(o) := none if l != L2", "engine(o) := {} if l != L2", "f(o) := l", "st(o) := of l"),
        ),
        "R11 i": Row("R11", ("UI", "mI"), ("l in f_v(o)", "R*"), ("f(o) := l",)),
        # What a right is good for.
        "loadkey": Row(
            "loadkey",
            ("IK",),
            ("a in b[s][o]", "f(o) = L2"),
            ("key(o) += s", "secret(s, o) := own(s)", "ctx(o) := s", "engine(o) += own(s)"),
        ),
        "submit": Row(
            "submit",
            ("IK",),
            ("a in b[s][o]", "f(o) = L2"),
            ("ctx(o) := s", "engine(o) += own(s)", "engine(o) += memory(s)"),
        ),
        "process": Row(
            "process",
            ("KK",),
            ("f(o) = L2", "ctx(o) != none"),
            ("out(o) := ctx(o)", "buffers(o) += engine(o)"),
            ("s = o",),
        ),
        "fetch": Row("fetch", ("IK",), ("r or w in b[s][o]",), ("memory(s) += buffers(o)",)),
        "put": Row("put", ("UI",), ("a or w in b[s][o]",), ("memory(o) += s",)),
        "get": Row("get", ("UI",), ("r or w in b[s][o]",), ("got(s) += memory(o)",)),
    },
    macros={"drop": (), "settle": ()},
    # b(O : w, a), b(O : w, r) and b(S : w, a) of the proof for R11.
    star=(("object", "wa", ">="), ("object", "wr", "<="), ("subject", "wa", "<=")),
    status="adds",
    card_may=("L2", "Lp"),
)


class Edit(NamedTuple):
    """
    One change of a table. `at` is a row, "drop", "settle", "R*", "status" or "f_v"; `old` becomes `new` there.

    Without `old` it is put in: before the row's condition or effect `before`, at the end otherwise. `part` is when, if
    or then.
    """

    at: str
    part: str = ""
    new: object = None
    old: object = None
    before: str = ""


def _in(atoms: tuple, edit: Edit) -> tuple:
    found = list(atoms)
    if edit.old is not None:
        if edit.old not in found:
            raise ValueError(f"{edit.at} has no {edit.old!r}")
        place = found.index(edit.old)
        found[place : place + 1] = [edit.new] if edit.new is not None else []
    else:
        place = found.index(edit.before) if edit.before in found else len(found)
        found.insert(place, edit.new)
    return tuple(found)


_PART = {"when": "when", "if": "conditions", "then": "effects"}


def edited(table: Table, *edits: Edit) -> Table:
    """The table with the edits made; ValueError when one does not fit."""
    for edit in edits:
        if isinstance(edit.new, Row):
            table = table._replace(rows=table.rows | {edit.at: edit.new})
        elif edit.at == "status":
            table = table._replace(status=edit.new)
        elif edit.at == "f_v":
            table = table._replace(card_may=_in(table.card_may, edit))
        elif edit.at == "R*":
            table = table._replace(star=_in(table.star, edit))
        elif edit.at in table.macros:
            table = table._replace(macros=table.macros | {edit.at: _in(table.macros[edit.at], edit)})
        else:
            row, field = table.rows[edit.at], _PART[edit.part]
            row = row._replace(**{field: _in(getattr(row, field), edit)})
            table = table._replace(rows=table.rows | {edit.at: row})
    return table


def _all(rows: str, part: str, *atoms: str) -> tuple[Edit, ...]:
    """The same atoms for several rows."""
    return tuple(Edit(row, part, atom) for row in rows.split(", ") for atom in atoms)


# Nobody else has r, w or a: the slot. And the switch, which strips it and cleans.
SLOT = (
    *_all("R2 i k, R3 i k, R4 i k, loadkey, submit, fetch", "if", "cur(o) = s"),
    *_all("R11 k", "if", "cur(o) != none"),
    Edit("drop", new="cur(k) := none if cur(k) = i"),
)
SWITCH = (
    Edit(
        "R12",
        new=Row(
            "R12",
            ("IK", "mK"),
            ("e in b[s][o] if manager(s)", "cur(o) = s if not manager(s)", "st(o) != free"),
            (
                "strip(o)",
                "ctx(o) := none",
                "out(o) := none",
                "engine(o) := {}",
                "buffers(o) := {}",
                "cur(o) := none",
                "cur(o) := n if c in b[n][o]",
                "f(o) := low",
                "f(o) := f(cur(o)) if cur(o) != none",
                "st(o) := control",
                "settle(o)",
            ),
            ("instance(n) if not none(n)", "none(n) if not manager(s)"),
        ),
    ),
)
SETTLE = tuple(Edit("settle", new=f"{atom} if empty(k)") for atom in ("st(k) := free", "f(k) := Lp", "cur(k) := none"))

EDITS: dict[str, tuple[Edit, ...]] = {
    "H1": SLOT + SWITCH,
    "H2": SWITCH,
    "H3": (
        Edit("R1 i k", "then", "f(o) := f(s) if st(o) = free", old="f(o) := f(s)"),
        Edit("R1 i k", "then", "st(o) := control if st(o) = free", old="st(o) := control"),
    ),
    "H4": (
        Edit("drop", new="b[i][k] := {}"),
        Edit("R6 u i", "then", "b[s][o] := {} if x = c"),
        Edit("R6 i k", "then", "drop(s, o) if x = c"),
    ),
    "H5": (
        *_all("R10 i, R10 k", "then", "b[t][o] -= x"),
        Edit("R10 i", "then", "b[t][o] := {} if x = c"),
        Edit("R10 k", "then", "drop(t, o) if x = c"),
    ),
    "H6": (Edit("R*", new=("subject", "wr", ">=")), Edit("R11 i", "if", "slotless(o)")),
    "H7": SLOT + SWITCH,
    "H8": (
        Edit("R11 k", "if", "l = f(cur(o)) if l != L2"),
        Edit("R11 k", "if", "st(o) = control if l = L2"),
        Edit("R11 k", "if", "st(o) = using if l != L2"),
        Edit("drop", new="settle(k)"),
        *SETTLE,
    ),
    "H9": _all("R9, R10 i, R10 k", "when", "x in rwac", "typed(t, o)"),
    "H10": (
        Edit("R8", "if", "free(o)", old="unused(o)"),
        Edit("R8", "then", "clear(o)"),
        Edit("R7 i", "then", "memory(o) := {}"),
    ),
    "H11": (Edit("f_v", new="IL"),),
    "H12": (Edit("status", new="replaces"), Edit("R8", "if", "unused(o)", old="st(o) = free")),
    "H13": (
        Edit("R1 i k", "if", "c in b[own(s)][s]"),
        Edit("R6 u i", "then", "drop(o, every card) if x = c"),
        Edit("R10 i", "then", "drop(o, every card) if x = c"),
    ),
    "H14": (
        Edit("R11 i", "if", "not c in b[own(o)][o] if l < f(o)"),
        Edit("R11 i", "then", "memory(o) := {} if l < f(o)", before="f(o) := l"),
    ),
    "H15": (Edit("drop", new="key(k) -= i", before="settle(k)"),),
    # Where the paper has no rule or leaves it open: who may ask, and what the data operations need.
    "choices": (
        Edit("R7 i", "if", "live(own(o))"),
        Edit("R7 i", "then", None, old="own(o) := t"),
        Edit("R7 k", "if", "l = Lp"),
        Edit("R8", "if", "e in b[s][o]"),
        Edit("R11 k", "if", "e in b[s][o] if manager(s)"),
        Edit("R11 k", "if", "cur(o) = s if not manager(s)"),
        Edit("R11 i", "when", "manager(s)"),
        Edit("R11 i", "when", "p > 4"),
        Edit("R11 i", "if", "e in b[s][o]"),
        Edit("submit", "if", "s in key(o)"),
        Edit("fetch", "if", "st(o) = control"),
        Edit(
            "config",
            new=Row(
                "config",
                ("IK",),
                ("cur(o) = s", "w in b[s][o]", "st(o) = control"),
                ("out(o) := s", "buffers(o) += own(s)"),
            ),
        ),
    ),
}
"""What each hole changes. H16 is a defect of a property and not of a rule."""

ORDER = ("H11", "H12", "H1", "H3", "H4", "H5", "H6", "H8", "H9", "H10", "H13", "H14", "H15", "choices")
"""H2 and H7 are mended by what mends H1."""


def mended(*holes: str, table: Table = LITERAL) -> Table:
    """The literal table with the edits of these holes."""
    return edited(table, *(edit for hole in holes for edit in EDITS[hole]))


CORRECTED = mended(*ORDER)
"""All of them: the rules that docs/model.md has."""

FIRST = edited(
    CORRECTED,
    Edit("drop", old="key(k) -= i"),
    Edit("R12", "then", "key(o) := key(o) & map(o)"),
)
"""A first correction (H15): a key slot that nobody is connected for goes with the next cleaning, not with c."""
