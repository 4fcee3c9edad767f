"""vecd/services/enrolment.py: an identity file that is damaged or open stops the start; it is no first start."""

import json

import pytest

from vecd.base.errors import ConfigError, Failed
from vecd.protocol import suites
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


def test_a_token_is_not_used_where_the_identity_could_not_be_kept(tmp_path, monkeypatch):
    keys = suites.generate()
    token = {"role": "card", "name": "c0", "id": bytes(16).hex(), "token": bytes(32).hex(), "expires": 2**33}
    ca = {"sign_key": keys.sign_key.hex(), "seal_key": keys.seal_key.hex()}
    path = tmp_path / "enrol.json"
    path.write_text(json.dumps({**token, "ca": ca}))
    state = tmp_path / "state"
    assert enrolment.require(path, "card", "c0", state).name == "c0" and list(state.iterdir()) == []
    monkeypatch.setattr(enrolment.os, "fsync", _full)
    with pytest.raises(Failed, match="cannot be written"):
        enrolment.require(path, "card", "c0", state)
    assert list(state.iterdir()) == []


def _full(_descriptor):
    raise OSError(28, "No space left on device")
