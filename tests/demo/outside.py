"""Decrypt a file of the card without the card: the proof that the ciphertext is plain AES-GCM under the tenant's K.

It reads the file format from docs/guest.md on its own, and shares no code with the project.
"""

import hashlib
import hmac
import os
from pathlib import Path

import cryptography
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PIECE = 1 << 20


def decrypt_file(path: Path, key: bytes, want_sha256: str) -> str:
    """The name and version of who verified; raises when the tag or the plaintext is not as it must be."""
    whole = path.stat().st_size
    with path.open("rb") as file:
        magic, version, _alg, iv_size, tag_size = _prefix(file.read(8))
        if (magic, version) != (b"vECF", 1):
            raise ValueError(f"{path} is not an encrypted file of version 1")
        iv = file.read(iv_size)
        body = whole - 8 - iv_size - tag_size
        file.seek(-tag_size, os.SEEK_END)
        tag = file.read(tag_size)
        file.seek(8 + iv_size)
        decryptor = Cipher(algorithms.AES(key), modes.GCM(iv, tag)).decryptor()
        digest = hashlib.sha256()
        while body:
            piece = file.read(min(PIECE, body))
            body -= len(piece)
            digest.update(decryptor.update(piece))
        decryptor.finalize()
    if not hmac.compare_digest(digest.hexdigest(), want_sha256):
        raise ValueError(f"{path}: decrypts to something else")
    return f"cryptography {cryptography.__version__}"


def _prefix(prefix: bytes) -> tuple[bytes, int, int, int, int]:
    return prefix[:4], prefix[4], prefix[5], prefix[6], prefix[7]
