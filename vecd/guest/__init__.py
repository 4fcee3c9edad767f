"""What a guest imports: `enrol` once, then `Card.connect`. docs/guest.md is the manual.

Nothing of the host is needed here: wire, protocol and base, cffi and cryptography.
"""

from vecd.guest.client import Card
from vecd.guest.identity import enrol
from vecd.guest.identity import read as read_identity
from vecd.guest.key import Key, Sealed
from vecd.protocol.identity import Identity
from vecd.wire.ops import USE_ALL, USE_DECRYPT, USE_ENCRYPT, USE_OWN_IV

__all__ = [
    "USE_ALL",
    "USE_DECRYPT",
    "USE_ENCRYPT",
    "USE_OWN_IV",
    "Card",
    "Identity",
    "Key",
    "Sealed",
    "enrol",
    "read_identity",
]
