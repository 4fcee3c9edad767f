"""A guest of the soak: everything a guest can do, in random order, each answer held against another implementation."""

from __future__ import annotations

import hashlib
import random
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.integration.cipher_machine import Guest
from vecd.base.errors import BadTag, Internal, NoKey, VecError
from vecd.guest import Card, Key

CALL_S = 8.0
SIZES = (0, 1, 1000, 20_000, 32_767, 32_769, 262_144, 262_145, 1 << 20)
# An operation below makes some calls, each of which may take its time-out.
HUNG_S = 60.0


class SoakGuest:
    """Works in a thread of its own until told to stop."""

    def __init__(self, guest: Guest, folder: Path, seed: int, stop: threading.Event) -> None:
        self.guest = guest
        self.right: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        # What must never be: wrong answers, and exceptions that are not the library's.
        self.wrong: list[str] = []
        self.doing, self.since_s = "", 0.0
        self._folder, self._random, self._stop = folder, random.Random(seed), stop
        self._outside = AESGCM(guest.key)
        self._card: Card | None = None
        self._key: Key | None = None
        self.thread = threading.Thread(target=self._work, daemon=True)

    @property
    def hung(self) -> bool:
        return self.thread.is_alive() and time.monotonic() - self.since_s > HUNG_S

    def _work(self) -> None:
        deeds = [deed for deed, weight in DEEDS.items() for _ in range(weight)]
        while not self._stop.is_set():
            deed, self.since_s = self._random.choice(deeds), time.monotonic()
            self.doing = deed.__name__
            try:
                self._connected()
                deed(self)
                self.right[self.doing] += 1
            except (BadTag, Internal) as error:
                self.wrong.append(f"{self.guest.name} {self.doing}: {type(error).__name__}: {error}")
            except VecError as error:
                self.errors[f"{self.doing}: {type(error).__name__}: {error}"[:200]] += 1
            except Exception:
                self.wrong.append(f"{self.guest.name} {self.doing}: {traceback.format_exc()[-800:]}")
        if self._card is not None:
            self._card.close()

    def _connected(self) -> None:
        if self._card is not None:
            return
        card = self.guest.connect(timeout=CALL_S)
        try:
            self._key = card.load_key(self.guest.key)
        except VecError:
            card.close(release=False)
            raise
        self._card = card

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.choice(SIZES))

    # -- what it does ---------------------------------------------------------------------------------------------
    def one_shot(self) -> None:
        data, aad = self._bytes(), self._random.randbytes(self._random.choice((0, 5, 60_000)))
        sealed = self._card.encrypt(self._key, data, aad)
        assert self._outside.decrypt(sealed.iv, sealed.ciphertext + sealed.tag, aad) == data
        assert self._card.decrypt(self._key, sealed, aad) == data

    def wrong_tag(self) -> None:
        sealed = self._card.encrypt(self._key, b"text")
        try:
            self._card.decrypt(self._key, sealed.ciphertext, iv=sealed.iv, tag=bytes(16))
        except BadTag:
            return
        raise AssertionError("a wrong tag was taken for right")

    def stream(self) -> None:
        parts = [self._bytes() for _ in range(self._random.randint(1, 4))]
        with self._card.encrypt_stream(self._key, b"aad") as sealing:
            sealed = b"".join([sealing.update(part) for part in parts])
            tag, iv = sealing.finish(), sealing.iv
        assert self._outside.decrypt(iv, sealed + tag, b"aad") == b"".join(parts)
        with self._card.decrypt_stream(self._key, iv, b"aad") as opening:
            plain = opening.update(sealed)
            opening.finish(tag)
        assert plain == b"".join(parts)

    def left_streams(self) -> None:
        for _ in range(3):
            with self._card.encrypt_stream(self._key) as sealing:
                sealing.update(b"never finished")

    def file(self) -> None:
        plain, sealed, again = (self._folder / f"{self.guest.name}.{what}" for what in ("plain", "sealed", "again"))
        plain.write_bytes(self._random.randbytes(self._random.choice((0, 100, 1_500_000))))
        self._card.encrypt_file(plain, sealed, self._key)
        content = sealed.read_bytes()
        assert self._outside.decrypt(content[8:20], content[20:], b"") == plain.read_bytes()
        self._card.decrypt_file(sealed, again, self._key)
        assert again.read_bytes() == plain.read_bytes()

    def without_key(self) -> None:
        data = self._bytes()
        assert self._card.digest(data) == hashlib.sha256(data).digest()
        assert self._card.null(data) == data
        assert len(self._card.random(5000)) == 5000

    def further_key(self) -> None:
        secret = self._random.randbytes(32)
        record = self._card.register_key(secret, f"further {self._random.getrandbits(40)}")
        key = self._card.load_key(secret)
        sealed = self._card.encrypt(key, b"by another key")
        assert AESGCM(secret).decrypt(sealed.iv, sealed.ciphertext + sealed.tag, b"") == b"by another key"
        number_only = key.named(key.number)
        self._card.revoke_key(record)
        try:
            self._card.encrypt(number_only, b"x")
        except NoKey:
            return
        raise AssertionError("a revoked key encrypts")

    def reconnect(self) -> None:
        card, self._card = self._card, None
        card.close(release=self._random.random() < 0.5)

    def release(self) -> None:
        card, self._card = self._card, None
        try:
            card.release()
        finally:
            card.close(release=False)


# How often, in relation to each other.
DEEDS = {
    SoakGuest.one_shot: 20,
    SoakGuest.wrong_tag: 2,
    SoakGuest.stream: 4,
    SoakGuest.left_streams: 2,
    SoakGuest.file: 3,
    SoakGuest.without_key: 4,
    SoakGuest.further_key: 2,
    SoakGuest.reconnect: 3,
    SoakGuest.release: 1,
}
