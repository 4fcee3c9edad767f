"""What the documents say of the model is what the model says."""

import re

import pytest

from tests.model.generate import BLOCKS, ROOT, blocks, made, standing


@pytest.mark.parametrize(("document", "name"), blocks())
def test_a_generated_part_is_what_its_maker_makes(document, name):
    assert standing(document, name) == made(document, name), "make figures"


def test_every_generated_part_of_a_document_has_a_maker():
    marked = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "docs").glob("*.md")
        for name in re.findall(r"<!-- generated: (.+?) -->", path.read_text())
    }
    assert marked == {(document, name) for document, names in BLOCKS.items() for name in names}
