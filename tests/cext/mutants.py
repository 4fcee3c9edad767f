"""Sources with one thing broken: text of a C file, and what stands there instead."""

import re


def mutant(text, replacements):
    """The text with each (old, new) replaced; white space does not count. Each old stands there exactly once."""
    for old, new in replacements:
        text, found = re.subn(r"\s+".join(map(re.escape, old.split())), lambda _, new=new: new, text)
        assert found == 1, f"card.c has {found} times: {old}"
    return text
