"""One tenant, in a process of its own: reads an order a line on stdin, answers a line of JSON on stdout.

It knows what a guest knows: an address, its own enrolment file, its own key K. The story is told by story.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import secrets
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tests.demo import outside
from vecd.base.errors import VecError
from vecd.guest import Card, Key, enrol, read_identity
from vecd.protocol import suites
from vecd.protocol.identity import Invitation

ALGORITHM = "AES-256-GCM"
PART_BYTES = 65536
PARTS_BEFORE = 3
PARTS_AFTER = 100
WAIT_S = 20.0


class Tenant:
    """The state between two orders; every method named in ORDERS is one, and returns what is answered."""

    def __init__(self, address: str, home: Path) -> None:
        self._address = address
        self._home = home
        self._identity = home / "identity.json"
        self._secret = secrets.token_bytes(32)
        self._card: Card | None = None
        self._key: Key | None = None

    def enrol(self, enrolment: str) -> dict[str, Any]:
        """Registration: the one-time token is used up, the first key's check value is known to the authority."""
        enrol(self._address, enrolment, self._identity, key=self._secret, alg=ALGORITHM)
        return {}

    def connect(self, address: str = "") -> dict[str, Any]:
        """Messages 1-12 and attach; the card's name and N_K."""
        self._card = Card.connect(address or self._address, identity=self._identity, retry=False)
        self._key = self._card.load_key(self._secret, alg=ALGORITHM)
        return {"card": self._card.name, "key": self._key.number}

    def start_ups(self, runs: int) -> dict[str, Any]:
        """Connect and load the key `runs` times: p50 in milliseconds, by message number and in total."""
        seen: list[dict[str, float]] = []
        for _ in range(runs):
            with Card.connect(self._address, identity=self._identity, retry=False, measure=True) as card:
                card.load_key(self._secret, alg=ALGORITHM)
                seen.append(card.timings)
        return {name: statistics.median(run[name] for run in seen) for name in seen[0]}

    def file(self, path: str) -> dict[str, Any]:
        """Encrypt a real file, decrypt it through the card and outside of it, compare."""
        card, key = self._connected()
        source, sealed, back = Path(path), self._home / "sealed", self._home / "back"
        times = [time.monotonic()]
        card.encrypt_file(source, sealed, key)
        times.append(time.monotonic())
        card.decrypt_file(sealed, back, key)
        times.append(time.monotonic())
        want = _sha256(source)
        if _sha256(back) != want or _sha256(sealed) == want:
            raise AssertionError(f"{source}: what came back from the card is not what went in")
        verified_by = outside.decrypt_file(sealed, self._secret, want)
        for made in (sealed, back):
            made.unlink()
        return {
            "bytes": source.stat().st_size,
            "verified_by": verified_by,
            "encrypt_s": times[1] - times[0],
            "decrypt_s": times[2] - times[1],
        }

    def encrypt(self, data: str) -> dict[str, Any]:
        """One message with the own key."""
        card, key = self._connected()
        card.encrypt(key, data.encode())
        return {}

    def foreign(self, number: int) -> dict[str, Any]:
        """Name somebody else's key number."""
        card, key = self._connected()
        card.encrypt(key.named(number), b"whose key is this?")
        return {}

    def forged(self) -> dict[str, Any]:
        """Decrypt a ciphertext in which one bit was changed on the way."""
        card, key = self._connected()
        sealed = card.encrypt(key, b"pay 100 to B")
        changed = bytes((sealed.ciphertext[0] ^ 1,)) + sealed.ciphertext[1:]
        card.decrypt(key, dataclasses.replace(sealed, ciphertext=changed))
        return {}

    def stream(self, ready: str, go: str) -> dict[str, Any]:
        """Encrypt by parts; after some of them make the file `ready`, wait for the file `go`, and go on."""
        card, key = self._connected()
        with card.encrypt_stream(key) as stream:
            for part in range(PARTS_BEFORE + PARTS_AFTER):
                if part == PARTS_BEFORE:
                    Path(ready).touch()
                    _wait_for(Path(go))
                stream.update(secrets.token_bytes(PART_BYTES))
            stream.finish()
        return {}

    def impostor(self, enrolment: str, like: str) -> dict[str, Any]:
        """Come with keys that nobody registered, under the id of an enrolment that was never used.

        `like` is somebody's identity file, for the parts of it that are no secret.
        """
        invited = Invitation.from_json(Path(enrolment).read_bytes())
        made_up = dataclasses.replace(
            read_identity(like), id=invited.id, name=invited.name, keys=suites.generate(), registered=()
        )
        Card.connect(self._address, identity=made_up, retry=False)
        return {}

    def close(self) -> dict[str, Any]:
        """R6 c: the instance lets go of its card."""
        if self._card is not None:
            self._card.close()
            self._card = None
        return {}

    def _connected(self) -> tuple[Card, Key]:
        if self._card is None or self._key is None:
            raise RuntimeError("this order needs `connect` first")
        return self._card, self._key


ORDERS = ("enrol", "connect", "start_ups", "file", "encrypt", "foreign", "forged", "stream", "impostor", "close")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.005)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.demo.tenant")
    parser.add_argument("--address", required=True)
    parser.add_argument("--home", type=Path, required=True)
    arguments = parser.parse_args()
    os.umask(0o077)
    arguments.home.mkdir(exist_ok=True)
    tenant = Tenant(arguments.address, arguments.home)
    for line in sys.stdin:
        order = json.loads(line)
        name = order.pop("do")
        if name not in ORDERS:
            raise SystemExit(f"no order {name!r}")
        try:
            answer = {"ok": getattr(tenant, name)(**order)}
        except VecError as error:
            answer = {"error": error.to_dict()}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
