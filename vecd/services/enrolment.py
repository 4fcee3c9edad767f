"""How a service becomes a registered party: its identity file, or, at the first start, its one-time token.

Used by the broker and by the card process. The identity is on the disk before the enrolment file is removed: a crash in
between leaves a used token, which does no harm.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from vecd.base.errors import ConfigError, Failed
from vecd.protocol.identity import Identity, Invitation

NAME = "identity.json"


def stored(directory: Path) -> Identity | None:
    """The identity of a party that registered before; None at the first start. Raises ConfigError for a damaged one."""
    path = directory / NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", reason=error.strerror or "") from None
    return Identity.from_json(text)


def invited(path: Path, role: str, name: str) -> Invitation | None:
    """The enrolment file of this party; None when there is none."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", reason=error.strerror or "") from None
    return Invitation.from_json(text, role=role, name=name)


def require(path: Path, role: str, name: str) -> Invitation:
    """The enrolment file; ConfigError saying how to make one when there is none."""
    invitation = invited(path, role, name)
    if invitation is None:
        raise ConfigError(
            f"{role} {name} is not registered, and {path} is not there",
            hint=f"vecctl token new {role} {name}, and put its answer there, mode 0600",
        )
    return invitation


def store(directory: Path, identity: Identity, invitation_path: Path) -> None:
    """The identity is on the disk, 0600 and whole, and the enrolment file is gone. Raises Failed."""
    temporary = ""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{NAME}.", dir=directory)
        with os.fdopen(descriptor, "w") as file:
            file.write(identity.to_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, directory / NAME)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise Failed(
            f"{directory / NAME} cannot be written", reason=error.strerror or "", hint="make room, then a new token"
        ) from None
    # The token is used; a file that cannot be removed (a systemd credential) holds nothing of worth any more.
    with contextlib.suppress(OSError):
        invitation_path.unlink()
