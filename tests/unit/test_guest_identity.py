"""Files that are not what a guest was told to name: the error says which file, and what makes a good one."""

from pathlib import Path

import pytest

from vecd.base.errors import ConfigError, Malformed
from vecd.guest import identity

READERS = {"identity": identity.read, "enrolment": identity.invitation}
NEXT = {"identity": "enrol()", "enrolment": "vecctl token new"}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"schema": 7}', "\x00"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, what: str, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Malformed) as error:
        READERS[what](path)
    assert str(path) in error.value.message and NEXT[what] in error.value.hint


@pytest.mark.parametrize("what", READERS)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        READERS[what](tmp_path / "none")
    assert str(tmp_path / "none") in error.value.message and NEXT[what] in error.value.hint
