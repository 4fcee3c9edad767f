"""What a guest asks of a card, over the real processes, held against the cryptography library."""

import hashlib
import os
import secrets
import threading

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vecd.base.errors import BadStream, BadTag, Gone, Malformed, NoKey, TooLarge, WrongUse
from vecd.guest import USE_ALL, USE_DECRYPT, USE_ENCRYPT
from vecd.wire import ops

KIB, MIB = 1024, 1 << 20
SIZES = (0, 1, 15, 16, 17, 4096, 256 * KIB, 256 * KIB + 1, MIB, MIB + 1, 3 * MIB + 5)
ALGS = ("AES-128-GCM", "AES-256-GCM", "AES-128-CTR", "AES-256-CTR")


@pytest.fixture(scope="module")
def guest(cipher_machine):
    return cipher_machine.add("A", usage=USE_ALL)


@pytest.fixture(scope="module")
def card(guest):
    with guest.connect() as card:
        yield card


@pytest.fixture(scope="module")
def key(guest, card):
    return card.load_key(guest.key)


@pytest.fixture(scope="module")
def keys(guest, card, key):
    """(secret, handle) by algorithm; the usage allows everything."""
    found = {}
    for alg in ALGS:
        secret = guest.key if alg == "AES-256-GCM" else secrets.token_bytes(ops.ALG_TEXT[alg].key)
        if alg != "AES-256-GCM":
            card.register_key(secret, f"key for {alg}", alg=alg, usage=USE_ALL)
        found[alg] = (secret, key if alg == "AES-256-GCM" else card.load_key(secret, alg=alg))
    return found


def decrypted_outside(alg, secret, sealed, aad=b""):
    if alg.endswith("GCM"):
        return AESGCM(secret).decrypt(sealed.iv, sealed.ciphertext + sealed.tag, aad)
    engine = Cipher(algorithms.AES(secret), modes.CTR(sealed.iv)).decryptor()
    return engine.update(sealed.ciphertext) + engine.finalize()


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("size", SIZES)
def test_what_the_card_encrypts_anybody_with_the_key_decrypts(card, keys, alg, size):
    secret, key = keys[alg]
    plain = os.urandom(size)
    sealed = card.encrypt(key, plain)
    assert decrypted_outside(alg, secret, sealed) == plain
    assert card.decrypt(key, sealed) == plain


def test_additional_data_belong_to_the_tag(card, key, guest):
    sealed = card.encrypt(key, b"text", aad=b"head")
    assert decrypted_outside("AES-256-GCM", guest.key, sealed, b"head") == b"text"
    assert card.decrypt(key, sealed, aad=b"head") == b"text"
    with pytest.raises(BadTag):
        card.decrypt(key, sealed, aad=b"tail")


@pytest.mark.parametrize("size", [16, 2 * MIB])
def test_a_changed_bit_is_a_bad_tag(card, key, size):
    sealed = card.encrypt(key, bytes(size))
    changed = bytes([sealed.ciphertext[0] ^ 1]) + sealed.ciphertext[1:]
    with pytest.raises(BadTag):
        card.decrypt(key, changed, iv=sealed.iv, tag=sealed.tag)
    assert card.decrypt(key, sealed) == bytes(size)


def test_the_card_draws_a_fresh_iv_each_time(card, key):
    assert len({card.encrypt(key, b"x").iv for _ in range(50)}) == 50


def test_an_iv_of_ones_own_is_used_where_the_usage_allows_it(card, key, guest):
    iv = secrets.token_bytes(12)
    assert card.encrypt(key, b"x", iv=iv).iv == iv
    with pytest.raises(Malformed):
        card.encrypt(key, b"x", iv=b"short")


def test_a_key_serves_what_it_was_registered_for_and_nothing_else(card, guest):
    secret = secrets.token_bytes(32)
    card.register_key(secret, "only in", usage=USE_ENCRYPT)
    key = card.load_key(secret, usage=USE_ENCRYPT)
    sealed = card.encrypt(key, b"x")
    with pytest.raises(WrongUse) as error:
        card.decrypt(key, sealed)
    assert "registered for other operations" in error.value.reason
    with pytest.raises(WrongUse):
        card.encrypt(key, b"x", iv=bytes(12))


def test_the_same_bytes_may_be_registered_for_several_uses(card):
    secret = secrets.token_bytes(32)
    card.register_key(secret, "in", usage=USE_ENCRYPT)
    card.register_key(secret, "out", usage=USE_DECRYPT)
    sealed = card.encrypt(card.load_key(secret, usage=USE_ENCRYPT), b"x")
    assert card.decrypt(card.load_key(secret, usage=USE_DECRYPT), sealed) == b"x"


def test_a_key_that_is_not_registered_is_not_loaded(card):
    with pytest.raises(NoKey) as error:
        card.load_key(secrets.token_bytes(32))
    assert "register_key" in error.value.hint


def test_a_callable_gives_the_key_when_it_is_needed(card, guest, key):
    handle = card.load_key(lambda: guest.key)
    assert card.decrypt(handle, card.encrypt(key, b"x")) == b"x"


@pytest.mark.parametrize("size", [0, 3, MIB, 5 * MIB])
def test_digests_are_sha256(card, key, size, tmp_path):
    data = os.urandom(size)
    want = hashlib.sha256(data).digest()
    assert card.digest(data) == want
    (tmp_path / "f").write_bytes(data)
    with (tmp_path / "f").open("rb") as file:
        assert card.digest(file) == want
    with card.digest_stream() as stream:
        stream.update(data[:100])
        stream.update(data[100:])
        assert stream.finish() == want


def test_random_bytes_are_as_many_as_asked_and_not_the_same_twice(card, key):
    for size in (0, 1, 32, 300 * KIB):
        assert len(card.random(size)) == size
    assert card.random(32) != card.random(32)
    with pytest.raises(Malformed, match="-1 random bytes"):
        card.random(-1)


def test_null_gives_back_what_it_got(card, key):
    for data in (b"", b"x", os.urandom(MIB)):
        assert card.null(data) == data
    with pytest.raises(TooLarge):
        card.null(bytes(MIB + 1))


def test_a_stream_of_parts_is_one_message(card, key, guest):
    plain = os.urandom(700 * KIB)
    with card.encrypt_stream(key, aad=b"h") as stream:
        ciphertext = stream.update(plain[:10]) + stream.update(b"") + stream.update(plain[10:])
        tag = stream.finish()
    assert AESGCM(guest.key).decrypt(stream.iv, ciphertext + tag, b"h") == plain
    with card.decrypt_stream(key, stream.iv, aad=b"h") as back:
        first = back.update(ciphertext[:100])
        assert "unverified" in repr(first)
        rest = back.update(ciphertext[100:])
        back.finish(tag)
    assert first + rest == plain


def test_a_stream_with_a_wrong_tag_says_so_at_the_end(card, key):
    with card.encrypt_stream(key) as stream:
        ciphertext = stream.update(b"abc")
        stream.finish()
    with card.decrypt_stream(key, stream.iv) as back:
        back.update(ciphertext)
        with pytest.raises(BadTag):
            back.finish(bytes(16))


def test_two_streams_of_a_key_run_side_by_side(card, key, guest):
    with card.encrypt_stream(key) as one, card.encrypt_stream(key) as two:
        a = one.update(b"one ") + b""
        b = two.update(b"two ")
        a += one.update(b"first")
        b += two.update(b"second")
        tags = one.finish(), two.finish()
    assert AESGCM(guest.key).decrypt(one.iv, a + tags[0], b"") == b"one first"
    assert AESGCM(guest.key).decrypt(two.iv, b + tags[1], b"") == b"two second"


def test_streams_that_are_left_unfinished_do_not_use_up_the_keys_places(card, key):
    for _ in range(3 * ops.STREAMS_MAX):
        with card.encrypt_stream(key) as stream:
            stream.update(b"never finished")


def test_a_finished_stream_takes_nothing_more(card, key):
    with card.encrypt_stream(key) as stream:
        stream.finish()
        with pytest.raises(BadStream):
            stream.update(b"late")


@pytest.mark.parametrize("size", [0, 1, 256 * KIB, MIB + 1, 9 * MIB + 3])
def test_a_file_comes_back_as_it_was_and_opens_outside(card, key, guest, tmp_path, size):
    plain = os.urandom(size)
    (tmp_path / "in").write_bytes(plain)
    told = []
    card.encrypt_file(
        tmp_path / "in", tmp_path / "sealed", key, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (size, size) and told == sorted(told)
    sealed = (tmp_path / "sealed").read_bytes()
    assert sealed[:8] == b"vECF" + bytes([1, ops.ALG_TEXT["AES-256-GCM"].number, 12, 16])
    assert AESGCM(guest.key).decrypt(sealed[8:20], sealed[20:], b"") == plain
    card.decrypt_file(tmp_path / "sealed", tmp_path / "out", key)
    assert (tmp_path / "out").read_bytes() == plain


@pytest.mark.parametrize("at", [20, -1, 300_000])
def test_a_changed_file_leaves_nothing_behind(card, key, tmp_path, at):
    (tmp_path / "in").write_bytes(bytes(MIB))
    card.encrypt_file(tmp_path / "in", tmp_path / "sealed", key)
    sealed = bytearray((tmp_path / "sealed").read_bytes())
    sealed[at] ^= 1
    (tmp_path / "sealed").write_bytes(sealed)
    with pytest.raises(BadTag):
        card.decrypt_file(tmp_path / "sealed", tmp_path / "out", key)
    assert sorted(os.listdir(tmp_path)) == ["in", "sealed"]


def test_a_file_is_not_encrypted_without_a_tag(card, keys, tmp_path):
    (tmp_path / "in").write_bytes(b"x")
    with pytest.raises(WrongUse):
        card.encrypt_file(tmp_path / "in", tmp_path / "out", keys["AES-256-CTR"][1])
    assert os.listdir(tmp_path) == ["in"]


def test_threads_share_a_card(card, key):
    wrong = []

    def work(number):
        for _ in range(50):
            text = f"thread {number}".encode() * 100
            if card.decrypt(key, card.encrypt(key, text)) != text:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


def test_a_forked_child_makes_a_connection_of_its_own_and_the_parents_goes_on(card, key):
    sealed = card.encrypt(key, b"for both")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if card.decrypt(key, sealed, timeout=10) == b"for both" else 2
        finally:
            os._exit(code)
    assert card.decrypt(key, sealed) == b"for both"
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert card.decrypt(key, sealed) == b"for both"


def test_a_stream_of_the_parent_is_gone_in_a_forked_child(card, key):
    with card.encrypt_stream(key) as stream:
        stream.update(b"the parent's")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                stream.update(b"the child's")
            except Gone:
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        stream.finish()


def test_a_key_that_is_revoked_is_destroyed_on_the_card(card):
    secret = secrets.token_bytes(32)
    record = card.register_key(secret, "short lived")
    key = card.load_key(secret)
    card.encrypt(key, b"x")
    card.revoke_key(record)
    with pytest.raises(NoKey):
        card.encrypt(key, b"x")
    assert record not in card.identity.registered
