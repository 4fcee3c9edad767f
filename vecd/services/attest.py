"""attest: oneshot before the guard. Exit 0 only if the measured boot is the one the boot policy knows.

It reads the registers of the TPM, holds them against boot.d, and on success writes run/vecd/attest/boot.json; on any
doubt it says why, writes nothing and exits 1, and with it ends the start. See docs/boot-policy.md.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vecd.base import events, log
from vecd.base.errors import EXIT_FAILED, EXIT_OK, Integrity, VecError
from vecd.base.paths import Paths
from vecd.base.start import Start, begin, lock_down
from vecd.tpm import device, policy

# A boot policy is some kilobytes; what is larger is something else.
FILE_MAX = 1024 * 1024


def main(argv: Sequence[str] = ()) -> int:
    """Exit code: 0 accepted, 1 refused, 77 not locked down, 78 bad configuration."""
    # The old answer is void from the first moment on, whatever happens next.
    start = begin("attest", argv, first=lambda paths: paths.boot.unlink(missing_ok=True))
    lock_down(start, uid=start.config.attest.uid)
    try:
        accepted = _accept(start)
    except VecError as e:
        return _refused(start, str(e))
    except Exception as e:
        # Whatever fails while deciding is a no.
        return _refused(start, f"{type(e).__name__} while deciding: {e}")
    log.event(events.BOOT_ACCEPTED, what=f"{len(accepted.rows)} registers, policy {accepted.version[:16]}")
    return EXIT_OK


def _refused(start: Start, reason: str) -> int:
    log.event(events.BOOT_REFUSED, reason=reason)
    return EXIT_FAILED if start.config.attest.required else EXIT_OK


def _accept(start: Start) -> policy.Policy:
    """The boot is as recorded and boot.json says so; else raises."""
    config = start.config.attest
    wanted = policy.parse(_files(Path(config.policy) if config.policy else start.paths.boot_policy))
    values = device.read(config.tcti, wanted.rows, timeout_s=config.timeout_s)
    differences = policy.compare(wanted, values)
    for difference in differences:
        log.event(events.BOOT_DIFFERS, pcr=difference.index, reason=difference)
    if differences:
        raise Integrity(
            f"PCR {', '.join(str(d.index) for d in differences)} not as recorded",
            rule="boot policy",
            reason=f"{len(differences)} of {len(wanted.rows)} registers differ, each named above",
        )
    _write(start.paths, wanted, values)
    return wanted


def _files(directory: Path) -> dict[str, bytes]:
    """Name and content of each file of the boot policy; a file that is none raises Integrity."""
    try:
        found = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError as e:
        raise Integrity(
            "there is no boot policy", reason=f"{directory}: {e.strerror}", hint="write one: docs/boot-policy.md"
        ) from None
    files = {}
    for path in found:
        if path.suffix != ".toml":
            raise Integrity(f"{path} is no boot policy", reason="its name does not end in .toml", hint="move it away")
        try:
            with path.open("rb") as file:
                files[path.name] = file.read(FILE_MAX + 1)
        except OSError as e:
            raise Integrity(f"{path} cannot be read", reason=e.strerror or "") from None
        if len(files[path.name]) > FILE_MAX:
            raise Integrity(f"{path} is too large", reason=f"a boot policy has at most {FILE_MAX} bytes")
    return files


def _write(paths: Paths, accepted: policy.Policy, values: Mapping[policy.Register, bytes]) -> None:
    """boot.json says what was accepted: whole or not at all, readable for everybody (it holds no secret)."""
    banks: dict[str, dict[str, str]] = {}
    for bank, index in sorted(accepted.rows):
        banks.setdefault(bank, {})[str(index)] = values[bank, index].hex()
    text = json.dumps(
        {"schema": 1, "policy": accepted.version, "accepted_s": int(time.time()), "pcrs": banks}, indent=1
    )
    temporary = paths.boot.with_name(f".boot.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text + "\n")
        os.fchmod(file.fileno(), 0o644)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, paths.boot)
