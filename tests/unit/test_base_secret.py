"""Secrets are overwritten where they stand and printed nowhere."""

import ctypes
import os
import pickle

import pytest

from vecd.base.secret import Secret, wipe


def at(address, size):
    return ctypes.string_at(address, size)


@pytest.mark.parametrize("size", [0, 2, 3, 16, 32, 4097])
def test_the_very_object_is_overwritten(size):
    data = os.urandom(size)
    other_name = data
    wipe(data)
    assert other_name == bytes(size)


def test_a_bytearray_and_a_view_are_overwritten_in_place():
    array = bytearray(os.urandom(32))
    wipe(memoryview(array)[8:16])
    assert array[8:16] == bytes(8) and array != bytes(32)
    wipe(array)
    assert array == bytes(32)


def test_a_dictionary_does_not_find_the_zeros_under_the_old_hash():
    data = os.urandom(32)
    hash(data)
    wipe(data)
    assert hash(data) == hash(bytes(32))


def test_what_is_shared_or_read_only_is_refused():
    with pytest.raises(ValueError):
        wipe(b"x")
    with pytest.raises(ValueError):
        wipe(memoryview(b"abc"))
    assert b"x" == bytes([120])


def test_a_secret_takes_the_bytes_over_and_wipes_what_it_was_given():
    given = os.urandom(32)
    kept = bytes(bytearray(given))
    secret = Secret(given)
    assert given == bytes(32) and bytes(secret.view()) == kept and len(secret) == 32
    with secret:
        pass
    assert bytes(secret.view()) == bytes(32)


def test_a_secret_is_wiped_when_nobody_holds_it_any_more():
    array = bytearray(b"k" * 32)
    secret = Secret(array)
    del secret
    assert array == bytes(32)


def test_a_secret_is_printed_compared_and_pickled_by_nobody():
    secret = Secret(bytearray(b"k" * 32))
    texts = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", "{}".format(secret), "%s" % secret]  # noqa: UP031,UP032
    assert all("<secret 32 bytes>" in text for text in texts)
    for forbidden in (lambda: secret == secret, lambda: hash(secret), lambda: pickle.dumps(secret)):
        with pytest.raises(TypeError):
            forbidden()
