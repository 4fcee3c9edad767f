"""vecd/guest/transport.py: two kinds of address, and what a bad one says."""

import socket

import pytest

from vecd.base.errors import Malformed, Unreachable
from vecd.guest.deadline import Deadline
from vecd.guest.transport import dial, parse


@pytest.mark.parametrize("text", ["unix:/run/vecd/guest/A.sock", "vsock:2:9750"])
def test_an_address_is_printed_as_it_was_written(text):
    assert str(parse(text)) == text


def test_a_vsock_address_is_a_cid_and_a_port():
    assert parse("vsock:2:9750").place == (2, 9750)


@pytest.mark.parametrize("text", ["", "tcp:host:1", "unix:relative", "vsock:2", "vsock:a:b", "vsock:2:-1", "/path"])
def test_anything_else_is_malformed(text):
    with pytest.raises(Malformed):
        parse(text)


def test_nobody_there_is_unreachable(tmp_path):
    with pytest.raises(Unreachable):
        dial(parse(f"unix:{tmp_path}/none.sock"), Deadline(1.0))


def test_a_connection_is_not_inherited_by_programs(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with dial(parse(f"unix:{tmp_path}/s"), Deadline(1.0)) as sock:
            assert not sock.get_inheritable()
