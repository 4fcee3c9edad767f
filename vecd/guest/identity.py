"""A guest's identity file, and how it comes into being: registration, messages 1 and 4.

The file (0600, replaced by rename) holds the seeds of the guest's two key pairs, its certificate, the authority's
public keys, and of each registered key everything but the key.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecd.base.errors import Busy, ConfigError, Exists, Malformed, Unknown, Unreachable
from vecd.guest import control, files, transport
from vecd.guest.deadline import Deadline
from vecd.guest.held import Given, Held
from vecd.protocol import registration, suites
from vecd.protocol.identity import Identity, Invitation
from vecd.wire import ops

DEFAULT_ALG = "AES-256-GCM"
DEFAULT_USAGE = ops.USE_ENCRYPT | ops.USE_DECRYPT
# Between two tries to register at a broker that is away or busy.
REST_S = 0.1


def algorithm(alg: str) -> ops.Alg:
    """The row of an algorithm by its text; Unknown with the ones there are."""
    row = ops.ALG_TEXT.get(alg)
    if row is None:
        raise Unknown(f"no algorithm {alg!r}", hint=f"there are: {', '.join(ops.ALG_TEXT)}")
    return row


def read(path: str | os.PathLike[str]) -> Identity:
    """The identity in a file. ConfigError when others may read the file, Malformed when it is damaged."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="enrol first: vecd.guest.enrol()") from error
    if mode & 0o077:
        raise ConfigError(f"{path}: others may read it (mode {mode:04o})", hint=f"chmod 600 {path}")
    try:
        return Identity.from_json(text)
    except Malformed as error:
        raise Malformed(f"{path} is no identity file: {error.message}", hint="vecd.guest.enrol() writes one") from None


def write(path: str | os.PathLike[str], identity: Identity) -> None:
    """The file holds this identity, mode 0600, whole: before or after, never half."""
    with files.replacing(path) as out:
        out.write(identity.to_json().encode())


def invitation(enrolment: str | os.PathLike[str] | Mapping[str, Any]) -> Invitation:
    """The enrolment file (what `vecctl token new` gave) as its path or its content."""
    if isinstance(enrolment, Mapping):
        return Invitation.from_json(json.dumps(dict(enrolment)), role="user")
    try:
        return Invitation.from_json(Path(enrolment).read_bytes(), role="user")
    except Malformed as error:
        hint = "vecctl token new --out writes one"
        raise Malformed(f"{enrolment} is no enrolment file: {error.message}", hint=hint) from None
    except OSError as error:
        raise ConfigError(f"{enrolment}: {error.strerror}", hint="see: vecctl token new --help") from error


def enrol(
    address: str,
    enrolment: str | os.PathLike[str] | Mapping[str, Any],
    identity: str | os.PathLike[str],
    key: Given | None = None,
    alg: str = DEFAULT_ALG,
    usage: int = DEFAULT_USAGE,
    *,
    name: str = "",
    timeout: float = 10.0,
) -> Identity:
    """This guest is registered, with its first key, and the identity file is written.

    `key` is the first key's K, of which only its check value leaves this process; without one a K is drawn and
    written beside the identity file as NAME.key, 0600. The token is used up; a file that could not be written
    is noticed before. Raises ProtocolRefused with the message and the check when the authority refuses.
    """
    drawn = None if key is not None else Path(f"{os.fspath(identity)}.key")
    if drawn is not None and drawn.exists():
        raise Exists(f"{drawn} is there already", hint="give its content as key, or move it away")
    invited = invitation(enrolment)
    row = algorithm(alg)
    if invited.role != "user":
        raise Malformed(f"the enrolment is for a {invited.role}, not for a user")
    deadline = Deadline(timeout)
    place = transport.parse(address)
    with files.replacing(identity) as out, Held(key if key is not None else secrets.token_bytes(row.key)) as secret:
        if len(secret.view) != row.key:
            raise Malformed(f"a key for {alg} has {row.key} bytes, this one has {len(secret.view)}")
        keys = suites.generate()
        while True:
            registering = registration.enrol_user(
                invited,
                keys,
                secrets.token_bytes,
                time.monotonic(),
                secret=secret.view,
                alg=alg,
                usage=usage,
                name=name,
            )
            try:
                message4 = control.once(place, "REGISTER", registering.message, deadline)
                break
            except (Busy, Unreachable):
                if deadline.left_s() <= REST_S:
                    raise
                time.sleep(REST_S)
        enrolled = registering.accept(message4, int(time.time()), time.monotonic())
        if drawn is not None:
            with files.replacing(drawn) as key_file:
                key_file.write(secret.view)
        out.write(enrolled.to_json().encode())
    return enrolled
