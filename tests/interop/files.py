"""The encrypted file. From docs/guest.md, "Files"."""

from __future__ import annotations

from .data import Sealed

NUMBERS = {"AES-128-GCM": 1, "AES-256-GCM": 2}


def write(alg: str, sealed: Sealed) -> bytes:
    """The bytes of the file."""
    head = b"vECF" + bytes([1, NUMBERS[alg], len(sealed.iv), len(sealed.tag)])
    return head + sealed.iv + sealed.text + sealed.tag


def read(alg: str, whole: bytes) -> Sealed:
    """What the file holds."""
    assert whole[:8] == b"vECF" + bytes([1, NUMBERS[alg], 12, 16]), whole[:8]
    return Sealed(whole[8:20], whole[20:-16], whole[-16:])
