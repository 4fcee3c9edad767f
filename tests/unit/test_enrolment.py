"""vecd/services/enrolment.py: an identity file that is damaged or open stops the start; it is no first start."""

import pytest

from vecd.base.errors import ConfigError
from vecd.services import enrolment


def test_no_file_is_a_first_start(tmp_path):
    assert enrolment.stored(tmp_path) is None


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"{}", b'{"role": "broker"}', b"[" * 100000])
def test_a_damaged_identity_is_a_wrong_configuration(tmp_path, text):
    path = tmp_path / enrolment.NAME
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="identity.json is damaged"):
        enrolment.stored(tmp_path)


def test_an_identity_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / enrolment.NAME
    path.write_bytes(b"{}")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        enrolment.stored(tmp_path)
