"""The TPM itself, through tpm2-pytss: read registers, extend one. The only importer of that package.

A TPM that hangs hangs in C, where no Python signal handler runs: each operation runs in a forked child that is
killed when its time is over. The child's stderr goes nowhere, because tpm2-tss complains there on its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from vecd.base.errors import Hardware, Integrity, TimedOut, VecError

from .policy import BANKS, Register

try:
    import tpm2_pytss as tss

    _MISSING = ""
except ImportError as e:
    _MISSING = str(e)

# Registers that one TPM2_PCR_Read may return.
_READ_MAX = 8
# How often the registers may change while they are read before we give up.
_TRIES = 5
_PR_SET_PDEATHSIG = 1
_ANSWER_MAX = 64 * 1024


def read(tcti: str, wanted: Iterable[Register], *, timeout_s: float = 10.0) -> dict[Register, bytes]:
    """The values of the wanted registers, all of one moment; one that the TPM does not have is not among them.

    Raises Hardware when the TPM cannot be reached or fails, TimedOut after `timeout_s`.
    """
    banks: dict[str, list[int]] = {}
    for bank, index in sorted(set(wanted)):
        banks.setdefault(bank, []).append(index)
    answer = _bounded(lambda: _read(tcti, banks), tcti, timeout_s)
    values: dict[Register, bytes] = {}
    for bank, index, text in answer:
        value = bytes.fromhex(text)
        if len(value) != BANKS[bank]:
            raise Integrity(f"the TPM gave {len(value)} bytes for PCR {index} of the bank {bank}")
        values[bank, index] = value
    return values


def extend(tcti: str, index: int, digest: bytes, *, timeout_s: float = 10.0) -> None:
    """PCR `index` of the SHA-256 bank is SHA-256(what it was || digest). For `vecd dev` and tests."""
    _bounded(lambda: _extend(tcti, index, digest), tcti, timeout_s)


def _read(tcti: str, banks: dict[str, list[int]]) -> list[Any]:
    with tss.ESAPI(tcti) as tpm:
        for _ in range(_TRIES):
            counters, values = set(), []
            for bank, indices in banks.items():
                left = list(indices)
                while left:
                    asked = ",".join(map(str, left[:_READ_MAX]))
                    counter, got, digests = tpm.pcr_read(tss.TPML_PCR_SELECTION.parse(f"{bank}:{asked}"))
                    counters.add(int(counter))
                    here = _indices(got)
                    if not here:
                        # The bank is not there, or has none of these registers.
                        left = left[_READ_MAX:]
                        continue
                    values += [[bank, n, bytes(d).hex()] for n, d in zip(here, digests, strict=True)]
                    left = [n for n in left if n not in here]
            # The counter moves with each extend: one value of it means one moment.
            if len(counters) <= 1:
                return values
    raise RuntimeError("the registers change faster than they can be read")


def _indices(selection: Any) -> list[int]:
    """Which registers a PCR selection of one bank names."""
    names = []
    for part in selection:
        mask = bytes(part.pcrSelect)[: int(part.sizeofSelect)]
        names += [8 * at + bit for at, byte in enumerate(mask) for bit in range(8) if byte >> bit & 1]
    return names


def _extend(tcti: str, index: int, digest: bytes) -> None:
    with tss.ESAPI(tcti) as tpm:
        value = tss.TPMT_HA(hashAlg=tss.TPM2_ALG.SHA256, digest=tss.TPMU_HA(sha256=digest))
        tpm.pcr_extend(tss.ESYS_TR(index), tss.TPML_DIGEST_VALUES([value]))


def _bounded(work: Callable[[], Any], tcti: str, timeout_s: float) -> Any:
    """What `work` returns, done by a child that does not outlive its time."""
    if _MISSING:
        raise Hardware("the TPM library cannot be loaded", reason=_MISSING, hint="install libtss2-dev and tpm2-pytss")
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _child(work, theirs)
    os.close(theirs)
    try:
        data = _all(ours, time.monotonic() + timeout_s)
    except TimeoutError:
        raise TimedOut(
            f"the TPM at {tcti} did not answer within {timeout_s:g} s", hint="is it there, and does it work?"
        ) from None
    finally:
        os.close(ours)
        # It is done, or its time is over; our own child, so the number is still its.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return _result(data, tcti)


def _child(work: Callable[[], Any], out: int) -> None:
    """Never returns: the result, or the reason, is on the pipe and the process is gone."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.environ["TSS2_LOG"] = "all+none"
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 2)
        try:
            message = {"ok": work()}
        except Exception as e:
            message = {"err": f"{type(e).__name__}: {e}"[:500]}
        os.write(out, json.dumps(message).encode())
    finally:
        os._exit(0)


def _all(fd: int, deadline: float) -> bytes:
    data = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise TimeoutError
        part = os.read(fd, _ANSWER_MAX)
        if not part:
            return data
        data += part


def _result(data: bytes, tcti: str) -> Any:
    try:
        message = json.loads(data)
        if "ok" in message:
            return message["ok"]
        reason = str(message["err"])
    except (ValueError, KeyError, TypeError):
        reason = "the process that asked it died"
    error: VecError = Hardware(
        f"the TPM at {tcti} cannot be read", reason=reason, hint="is there a TPM, and may this user reach it?"
    )
    raise error
