"""The boot policy: which values the TPM's registers must have, and where they have others. Pure.

boot.d/*.toml hold rows:

    [[pcr]]
    index = 10                     # 0 to 23
    bank = "sha256"
    value = "hex"                  # or a list of values, each of which is allowed
    what = "the installed code"    # what is measured there, for people

Follows the first form of the check in docs/boot-policy.md; the event log is not looked at. No policy, an empty one,
an unknown key, a register without a value: each is a no. Nothing here returns a bool that could be forgotten:
`require` returns or raises.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from vecd.base.errors import Integrity

# Bank and length of its values in bytes. SHA-1 is no evidence any more.
BANKS = {"sha256": 32, "sha384": 48, "sha512": 64}
REGISTERS = range(24)
_KEYS = ("index", "bank", "value", "what")

# A register: (bank, index).
Register = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    bank: str
    index: int
    allowed: frozenset[bytes]
    what: str
    file: str


@dataclass(frozen=True, slots=True)
class Policy:
    rows: Mapping[Register, Row]
    # SHA-256 over names and contents of the files: what "the accepted policy" is.
    version: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One register that is not as the policy has it. found: None where the TPM gave no value."""

    bank: str
    index: int
    expected: tuple[str, ...]
    found: str | None
    what: str
    file: str

    @property
    def next_step(self) -> str:
        if self.found is None:
            return f"enable the TPM's {self.bank} bank, or write the policy for one that it has"
        return f"if you meant this change, put the found value into {self.file}; if not, do not use this machine"

    def __str__(self) -> str:
        found = self.found or "no value"
        expected = " or ".join(self.expected)
        return f"PCR {self.index} ({self.bank}, {self.what}): expected {expected}, found {found}; {self.next_step}"


def parse(files: Mapping[str, bytes]) -> Policy:
    """The policy of these files, name to content. Raises Integrity naming file and row."""
    rows: dict[Register, Row] = {}
    version = sha256()
    for name in sorted(files):
        version.update(len(name.encode()).to_bytes(4) + name.encode() + len(files[name]).to_bytes(4) + files[name])
        for number, given in enumerate(_rows(name, files[name]), 1):
            row = _row(f"{name}: [[pcr]] number {number}", name, given)
            if (other := rows.get((row.bank, row.index))) is not None:
                raise Integrity(
                    f"{name}: PCR {row.index} ({row.bank}) stands in {other.file}, too",
                    hint="one row holds every allowed value: value = [...]",
                )
            rows[row.bank, row.index] = row
    if not rows:
        raise Integrity(
            "there is no boot policy", reason="no [[pcr]] row was found", hint="write one: docs/boot-policy.md"
        )
    return Policy(rows, version.hexdigest())


def compare(policy: Policy, values: Mapping[Register, bytes]) -> list[Difference]:
    """Every register of the policy whose value is not an allowed one, in order; empty: the boot is as recorded."""
    differences = []
    for register in sorted(policy.rows):
        row, found = policy.rows[register], values.get(register)
        if found is None or found not in row.allowed:
            expected = tuple(sorted(value.hex() for value in row.allowed))
            shown = None if found is None else found.hex()
            differences.append(Difference(row.bank, row.index, expected, shown, row.what, row.file))
    return differences


def require(policy: Policy, values: Mapping[Register, bytes]) -> None:
    """The boot is as recorded; else raises Integrity with every difference."""
    if differences := compare(policy, values):
        raise Integrity("; ".join(map(str, differences)), rule="boot policy")


def write(rows: Mapping[Register, tuple[bytes, str]], heading: str) -> str:
    """The text of a boot.d file that allows exactly these values (value, what)."""
    parts = [f"# {heading}\n"]
    for (bank, index), (value, what) in sorted(rows.items()):
        quoted = what.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'[[pcr]]\nindex = {index}\nbank = "{bank}"\nvalue = "{value.hex()}"\nwhat = "{quoted}"\n')
    return "\n".join(parts)


def _rows(name: str, content: bytes) -> list[Any]:
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as e:
        raise Integrity(f"{name} cannot be read", reason=str(e)) from None
    if unknown := sorted(set(table) - {"pcr"}):
        raise Integrity(f"{name}: {unknown[0][:64]!r} is not known", reason="a boot policy has [[pcr]] rows alone")
    rows = table.get("pcr", [])
    if not isinstance(rows, list):
        raise Integrity(f"{name}: pcr is not a list of tables", hint="write [[pcr]], not [pcr]")
    return rows


def _row(where: str, file: str, given: Any) -> Row:
    if not isinstance(given, dict):
        raise Integrity(f"{where} is not a table")
    if unknown := sorted(set(given) - set(_KEYS)):
        raise Integrity(f"{where}: {unknown[0][:64]!r} is not known", reason=f"a row has {', '.join(_KEYS)}")
    if missing := [key for key in _KEYS if key not in given]:
        raise Integrity(f"{where}: {missing[0]} is missing")
    index, bank, value, what = (given[key] for key in _KEYS)
    if not isinstance(index, int) or isinstance(index, bool) or index not in REGISTERS:
        raise Integrity(f"{where}: index must be from 0 to {REGISTERS[-1]}")
    if bank not in BANKS:
        raise Integrity(f"{where}: bank must be one of {', '.join(BANKS)}")
    if not isinstance(what, str) or not what.strip() or not what.isprintable():
        raise Integrity(f"{where}: what must say what is measured in PCR {index}")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise Integrity(f"{where}: no value is allowed for PCR {index}")
    return Row(bank, index, frozenset(_value(where, bank, each) for each in values), what.strip(), file)


def _value(where: str, bank: str, text: Any) -> bytes:
    size = BANKS[bank]
    try:
        value = bytes.fromhex(text) if isinstance(text, str) and len(text) == 2 * size else b""
    except ValueError:
        value = b""
    if len(value) != size:
        raise Integrity(f"{where}: a value of the bank {bank} has {2 * size} hex digits")
    return value
