"""How a service becomes a registered party: its identity file, or, at the first start, its one-time token.

Used by the broker and, for what is no secret, by the card process (card_parts/identity.py). The identity is on the disk
before the enrolment file is removed: a crash in between leaves a used token, which does no harm.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from vecd.base.durable import sync_folder
from vecd.base.errors import ConfigError, Failed, VecError
from vecd.protocol.identity import Identity, Invitation

NAME = "identity.json"
# More than any identity takes.
ROOM_BYTES = 1 << 16


def stored(directory: Path) -> Identity | None:
    """The identity of a party that registered before; None at the first start.

    Raises ConfigError for a damaged one, and for one that others may read: its seeds are in it.
    """
    text = text_of(directory)
    if text is None:
        return None
    path = directory / NAME
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"others may read {path}", hint=f"chmod 600 {path}, and think about who has read it")
    try:
        return Identity.from_json(text)
    except VecError as error:
        raise ConfigError(
            f"{path} is damaged", reason=str(error), hint="restore it, or move it away and enrol the party again"
        ) from None


def text_of(directory: Path) -> bytes | None:
    """The identity file as it stands there; None at the first start."""
    path = directory / NAME
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", reason=error.strerror or "") from None


def invited(path: Path, role: str, name: str) -> Invitation | None:
    """The enrolment file of this party; None when there is none."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", reason=error.strerror or "") from None
    return Invitation.from_json(text, role=role, name=name)


def require(path: Path, role: str, name: str, directory: Path) -> Invitation:
    """The enrolment file; ConfigError saying how to make one when there is none.

    Raises Failed where the directory could not keep the identity: the token is good once, and would be lost.
    """
    invitation = invited(path, role, name)
    if invitation is None:
        raise ConfigError(
            f"the {role} has no identity yet, and {path} is not there",
            hint=f"vecctl token new --role {role} --name {name} --out {path}",
        )
    room = directory / f".{NAME}.room"
    write(room, bytes(ROOM_BYTES))
    room.unlink()
    return invitation


def store(directory: Path, identity: Identity, invitation_path: Path) -> None:
    """The identity is on the disk, 0600 and whole, and the enrolment file is gone. Raises Failed."""
    write(directory / NAME, identity.to_json().encode())
    # The token is used; a file that cannot be removed (a systemd credential) holds nothing of worth any more.
    with contextlib.suppress(OSError):
        invitation_path.unlink()


def write(path: Path, content: bytes | memoryview) -> None:
    """The file holds this, 0600, durably and never half of it. Raises Failed."""
    temporary = ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        # Without a buffer: of a secret there is no copy in this process.
        with open(descriptor, "wb", buffering=0) as file:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise Failed(
            f"{path} cannot be written", reason=error.strerror or "", hint="make room, then a new token"
        ) from None
