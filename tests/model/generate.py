"""The generated parts of the documents: `make figures` writes them, a test holds them equal to their makers.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. Its maker takes nothing and returns Markdown; it is
named as "module:function" and imported when it is wanted, so that one broken maker is one failing test.
"""

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

BLOCKS = {
    "docs/model.md": {
        "state map figure": "tests.model.state_map:figure",
        "state map": "tests.model.state_map:table",
        "holes": "tests.model.literal_rules.page:holes",
        "literal rules": "tests.model.literal_rules.page:rules",
        "mutants": "tests.model.implied:table",
    },
    "docs/protocol.md": {
        "scopes": "tests.model.attacker.record:scopes",
        "attacks": "tests.model.attacker.record:attacks",
        "single checks": "tests.model.attacker.record:single_checks",
        "literal attacks": "tests.model.literal_protocol.page:attacks",
        "literal messages": "tests.model.literal_protocol.page:messages",
    },
}


def blocks():
    """(document, name) of every generated part."""
    return [(document, name) for document, names in BLOCKS.items() for name in names]


def made(document, name):
    """What the part has to be."""
    module, _, function = BLOCKS[document][name].partition(":")
    return getattr(importlib.import_module(module), function)().strip()


def _part(name):
    return re.compile(rf"(<!-- generated: {re.escape(name)} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def standing(document, name):
    """What the part is; AssertionError when the document has no place for it, or two."""
    found = _part(name).findall((ROOT / document).read_text())
    assert len(found) == 1, f"{document} has {len(found)} places for the generated part {name!r}"
    return found[0][1].strip()


def main():
    for document, name in blocks():
        path = ROOT / document
        text = path.read_text()
        fresh, count = _part(name).subn(lambda m, what=(document, name): f"{m[1]}\n{made(*what)}\n\n{m[3]}", text)
        if count != 1:
            sys.exit(f"{document}: {count} places for the generated part {name!r}")
        if fresh != text:
            path.write_text(fresh)
            print(f"{document}: {name}")


if __name__ == "__main__":
    main()
