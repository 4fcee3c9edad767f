"""Whether a card registered: its certificate, under the authority's public key (model: R7 of a card needs protocol 1).

The key is read from what the authority publishes, at each hello: a card comes seldom, and a
guard may be there before the authority.
"""

import json
import time
from pathlib import Path

from vecd.base.errors import Busy, Integrity
from vecd.protocol.checks import require
from vecd.protocol.messages import CARD, Certificate, opened

RULE = "registration 4"


def authority_key(path: Path) -> bytes:
    """The authority's signature key; Busy where it has published none yet, Integrity where it cannot be read."""
    try:
        return bytes.fromhex(json.loads(path.read_text())["sign_key"])
    except FileNotFoundError:
        raise Busy("the authority has not published its key", hint="start the authority") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise Integrity(f"{path} is not the authority's key", hint="restart the authority, which writes it") from None


def check(statement: bytes, card: bytes, authority: bytes, now: float) -> bytes:
    """The statement certifies this id as a card, now: its signature key. Raises ProtocolRefused with the check."""
    certificate = opened(Certificate, statement, authority, "cert", RULE)
    require(certificate.role == CARD, RULE, f"the certificate is one of a {certificate.role}, not of a card")
    require(certificate.id_x == card, RULE, "the certificate is one of another id")
    require(certificate.nbf <= now < certificate.exp, RULE, "the certificate is not valid now", "enrol the card again")
    return certificate.pkS_x


def checker(path: Path) -> "_Checker":
    """Checks certificates under the key that is published at `path`."""
    return _Checker(path)


class _Checker:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, statement: bytes, card: bytes) -> bytes:
        return check(statement, card, authority_key(self._path), time.time())
