"""
Every guard and every effect of rules.py, taken out one at a time, in its source: so none is forgotten.

A guard is an `if` that leads to a refusal: its condition is made False. Any other `if` of a rule is a case: its
condition is made True, and False. An effect is a change of one cell (`_put`, `_hold`, `Change`), a cascade (`_drop`,
`_drop_user`) or a wipe: it is made nothing. What is left is compiled as a module, and its `decide` is explored.
"""

import ast
import copy
import types
from pathlib import Path
from typing import NamedTuple

from vecd.ppm import rules

SOURCE = Path(rules.__file__)
WIPES = ("engine", "buffers", "key slot", "memory")
CHANGES = ("_put", "_hold", "Change")
CASCADES = ("_drop", "_drop_user")
# Functions that make an answer, or a part of one, and no rule.
PLUMBING = {
    "yes",
    "no",
    "unclear",
    "absent",
    "step",
    "rule",
    "register",
    "advance",
    "_put",
    "_hold",
    "_deed",
    "_follower",
    "_levels",
}


def _refuses(node):
    """The body of this `if` ends in a refusal."""
    last = node.body[-1]
    if not isinstance(last, ast.Return) or last.value is None:
        return False
    value = last.value
    if isinstance(value, ast.Name):
        return value.id == "refused"
    called = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
    # A sentence, or the tuple that says why something is not free.
    return (
        called in ("no", "unclear", "absent")
        or called.startswith(("_no", "_lacks"))
        or isinstance(value, ast.Tuple | ast.JoinedStr)
    )


def _wipe(node):
    return (
        isinstance(node, ast.Tuple)
        and bool(node.elts)
        and isinstance(node.elts[0], ast.Constant)
        and node.elts[0].value in WIPES
    )


def places(tree):
    """(function, what, text, path) of everything that can be taken out; path leads to the node."""
    found = []

    def walk(node, function, path):
        if isinstance(node, ast.FunctionDef):
            function = node.name
            if function in PLUMBING:
                return
        if function:
            if isinstance(node, ast.If) and _refuses(node):
                found.append((function, "guard", ast.unparse(node.test), path))
            elif isinstance(node, ast.If):
                found.extend((function, f"always {it}:", ast.unparse(node.test), path) for it in (True, False))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in CHANGES:
                    found.append((function, "effect", ast.unparse(node), path))
                elif node.func.id in CASCADES:
                    found.append((function, "cascade", ast.unparse(node), path))
            if _wipe(node):
                found.append((function, "wipe", ast.unparse(node), path))
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.AST):
                walk(value, function, (*path, (field, None)))
            elif isinstance(value, list):
                for n, item in enumerate(value):
                    if isinstance(item, ast.AST):
                        walk(item, function, (*path, (field, n)))

    walk(tree, "", ())
    return found


class _Parent(NamedTuple):
    node: ast.AST
    field: str
    index: int | None

    def get(self):
        value = getattr(self.node, self.field)
        return value if self.index is None else value[self.index]

    def set(self, value):
        if self.index is None:
            setattr(self.node, self.field, value)
        else:
            getattr(self.node, self.field)[self.index] = value


def _at(tree, path):
    """Where the node hangs, and what hangs above it."""
    above, here = None, tree
    chain = []
    for field, index in path:
        above = _Parent(here, field, index)
        chain.append(above)
        here = above.get()
    return chain


def _nothing(text):
    return ast.parse(text, mode="eval").body


def without(tree, what, path):
    """A copy of the tree where the one thing is not there."""
    tree = copy.deepcopy(tree)
    chain = _at(tree, path)
    here = chain[-1]
    if what == "guard":
        here.get().test = _nothing("False")
    elif what.startswith("always"):
        here.get().test = _nothing(what.split()[1].rstrip(":"))
    elif what == "cascade":
        here.set(_nothing("((), ())"))
    elif what == "wipe":
        above = chain[-2].get()
        if isinstance(above, ast.Tuple):
            above.elts.remove(here.get())
        else:
            here.set(_nothing("()"))
    elif isinstance(here.get(), ast.Call) and here.get().func.id == "Change" and here.field == "args":
        # changes.append(Change(...)): the whole statement goes.
        next(link for link in reversed(chain) if isinstance(link.get(), ast.Expr)).set(ast.Pass())
    elif isinstance(chain[-2].get(), ast.Tuple):
        chain[-2].get().elts.remove(here.get())
    else:
        here.set(_nothing("()"))
    return ast.fix_missing_locations(tree)


def compiled(tree):
    """The `decide` of a module made of this tree."""
    module = types.ModuleType("vecd.ppm.rules_without")
    exec(compile(tree, str(SOURCE), "exec"), module.__dict__)
    return module.decide


def mutants():
    """What is taken out -> a function that makes the `decide` that is left."""
    tree = ast.parse(SOURCE.read_text())
    found = {}
    for function, what, text, path in places(tree):
        name = f"{function}: {what} {text}"
        again = sum(known == name or known.startswith(name + " (") for known in found)
        found[f"{name} ({again + 1})" if again else name] = (what, path)
    return {
        name: lambda what=what, path=path: compiled(without(tree, what, path)) for name, (what, path) in found.items()
    }
