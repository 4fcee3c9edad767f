"""vecd/guest/files.py: the format of an encrypted file, and that a file is whole or not there."""

import os
import stat

import pytest

from vecd.base.errors import BadTag, Malformed
from vecd.guest.files import FileHead, read_head, read_tag, replacing

HEAD = FileHead(2, b"i" * 12, 16)


def opened(path, content):
    path.write_bytes(content)
    return path.open("rb")


def test_a_head_reads_back_as_it_was_written(tmp_path):
    with opened(tmp_path / "f", HEAD.encode() + b"rest") as file:
        assert read_head(file, "f") == HEAD
        assert file.read() == b"rest"


def test_a_head_has_the_bytes_that_the_manual_says():
    assert HEAD.encode() == b"vECF" + bytes([1, 2, 12, 16]) + b"i" * 12


@pytest.mark.parametrize(
    "content", [b"", b"vEC", b"ELF!" + HEAD.encode()[4:], HEAD.encode()[:-1], b"vECF\x02" + HEAD.encode()[5:]]
)
def test_what_is_not_a_head_is_malformed(tmp_path, content):
    with opened(tmp_path / "f", content) as file, pytest.raises(Malformed):
        read_head(file, "f")


def test_the_tag_is_the_end_of_the_file_and_the_position_is_at_the_ciphertext(tmp_path):
    with opened(tmp_path / "f", HEAD.encode() + b"cipher" + b"t" * 16) as file:
        read_head(file, "f")
        assert read_tag(file, HEAD, "f") == (b"t" * 16, 6)
        assert file.read(6) == b"cipher"


def test_a_file_without_room_for_a_tag_has_a_bad_one(tmp_path):
    with opened(tmp_path / "f", HEAD.encode() + b"t" * 15) as file:
        read_head(file, "f")
        with pytest.raises(BadTag):
            read_tag(file, HEAD, "f")


def test_a_replaced_file_is_private_and_nothing_else_is_left(tmp_path):
    with replacing(tmp_path / "f") as out:
        out.write(b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert stat.S_IMODE(os.stat(tmp_path / "f").st_mode) == 0o600
    assert os.listdir(tmp_path) == ["f"]


def test_a_block_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "f") as out:
        out.write(b"half")
        raise ZeroDivisionError
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]
