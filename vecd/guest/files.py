"""An encrypted file: a short header, the ciphertext, the tag. docs/guest.md, "Files", has the table.

    0  4  "vECF"
    4  u8 version, 1
    5  u8 algorithm, a number of VEC_ALGS; only one with a tag
    6  u8 length of the IV
    7  u8 length of the tag
    8     IV || ciphertext || tag

Whoever has the key can open it without us: the parts are what every AES-GCM takes. A result is written under a
temporary name beside its destination, synced, and renamed when it is whole; a decrypted one only after the tag
was verified. What is not whole is removed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vecd.base.durable import sync_folder
from vecd.base.errors import BadTag, Malformed

MAGIC = b"vECF"
VERSION = 1
PREFIX_SIZE = 8


@dataclass(frozen=True)
class FileHead:
    """What stands before the ciphertext."""

    alg: int
    iv: bytes
    tag_size: int

    @property
    def size(self) -> int:
        return PREFIX_SIZE + len(self.iv)

    def encode(self) -> bytes:
        return MAGIC + bytes((VERSION, self.alg, len(self.iv), self.tag_size)) + self.iv


def read_head(source: BinaryIO, name: str) -> FileHead:
    """The head of an encrypted file, the position behind it; Malformed when it is none."""
    prefix = source.read(PREFIX_SIZE)
    if len(prefix) < PREFIX_SIZE or prefix[:4] != MAGIC:
        raise Malformed(f"{name} is not an encrypted file of ours", reason='it does not start with "vECF"')
    version, alg, iv_size, tag_size = prefix[4:]
    if version != VERSION:
        raise Malformed(f"{name}: version {version} of the file format is not known here")
    iv = source.read(iv_size)
    if len(iv) < iv_size:
        raise Malformed(f"{name} is cut off", reason="it ends inside its IV")
    return FileHead(alg, iv, tag_size)


def read_tag(source: BinaryIO, head: FileHead, name: str) -> tuple[bytes, int]:
    """(the tag, the bytes of ciphertext before it); the position is at the ciphertext again.

    Raises BadTag when the file is too short to have one.
    """
    whole = os.fstat(source.fileno()).st_size
    size = whole - head.size - head.tag_size
    if size < 0:
        raise BadTag(f"{name} is cut off", reason="no room for its tag")
    source.seek(whole - head.tag_size)
    tag = source.read(head.tag_size)
    source.seek(head.size)
    return tag, size


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at once when the block ends well, and leaves nothing when it does not."""
    target = os.fspath(path)
    folder = os.path.dirname(target) or "."
    descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_folder(folder)
