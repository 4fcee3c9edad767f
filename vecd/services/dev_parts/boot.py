"""The measured boot of `vecd dev`: a software TPM, and something real in its registers.

PCR 10 gets a digest of the installed code, PCR 14 one of the configuration, each before what it measures runs; the
other registers stay as the TPM has them at its start. The first start of a directory records registers 0 to 15 as
its boot policy; from then on a changed file means a refused boot.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import vecd
from vecd.base import config
from vecd.base.errors import Failed
from vecd.base.paths import Paths
from vecd.services.dev_parts.layout import Layout
from vecd.tpm import device, policy

POLICY = "10-dev.toml"
CODE, SETTINGS = 10, 14
RECORDED = range(16)
BANK = "sha256"

_WHAT = {CODE: "the installed code of vecd", SETTINGS: "the configuration of vecd"}
# What the firmware of a real machine would have put there (docs/boot-policy.md).
_USUAL = {0: "firmware", 1: "firmware configuration", 2: "option ROMs", 3: "option ROM configuration"} | {
    4: "boot loader",
    5: "boot loader configuration",
    7: "secure boot",
    8: "kernel command line",
    9: "kernel and initrd",
}


def swtpm(layout: Layout) -> list[str]:
    """The command that runs the TPM, started and cleared, on a Unix socket."""
    socket = f"type=unixio,path={layout.tpm_socket}"
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={layout.tpm}", "--server", f"{socket},mode=0600"]
    return [*command, "--ctrl", f"{socket}.ctrl,mode=0600", "--flags", "not-need-init,startup-clear"]


def measure(layout: Layout, *, tamper_pcr: int | None) -> bool:
    """Code and configuration are measured; on the first start also recorded. True: this was the first start.

    tamper_pcr: that register is extended once more, behind the recording: a boot that was changed.
    """
    device.extend(layout.tcti, CODE, digest(code()))
    device.extend(layout.tcti, SETTINGS, digest(settings(layout.paths)))
    first = not any(layout.paths.boot_policy.glob("*.toml"))
    if first:
        _record(layout)
    if tamper_pcr is not None:
        device.extend(layout.tcti, tamper_pcr, sha256(b"tampered").digest())
    return first


def digest(files: Iterable[tuple[str, bytes]]) -> bytes:
    """SHA-256 over names and contents, each with its length, in the order of the names."""
    whole = sha256()
    for name, content in sorted(files):
        for part in (name.encode(), content):
            whole.update(len(part).to_bytes(8) + part)
    return whole.digest()


def code() -> Iterable[tuple[str, bytes]]:
    """The modules of this package, compiled ones included, as they are installed."""
    root = Path(vecd.__file__).parent
    for path in root.rglob("*"):
        if path.suffix in (".py", ".so") and path.is_file():
            yield path.relative_to(root).as_posix(), path.read_bytes()


def settings(paths: Paths) -> Iterable[tuple[str, bytes]]:
    """The files of the configuration, by their place below D."""
    for path in config.files(paths):
        yield path.relative_to(paths.root).as_posix(), path.read_bytes()


def _record(layout: Layout) -> None:
    values = device.read(layout.tcti, [(BANK, index) for index in RECORDED])
    rows = {
        register: (value, _WHAT.get(register[1]) or _USUAL.get(register[1]) or f"register {register[1]}")
        for register, value in values.items()
    }
    if len(rows) != len(RECORDED):
        raise Failed("the TPM does not have all registers", reason=f"{len(rows)} of {len(RECORDED)} were read")
    text = policy.write(rows, "Recorded by the first start of vecd dev here. Remove this file to record the next one.")
    path = layout.paths.boot_policy / POLICY
    path.write_text(text)
    path.chmod(0o644)
