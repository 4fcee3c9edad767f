"""Which log and which keys a `vecctl log` speaks of: what was typed, and what lies below --dir."""

from __future__ import annotations

import contextlib
import json
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path

from vecd.audit import files, roots
from vecd.audit.records import CardFormat, Format, GuardFormat
from vecd.base.errors import Malformed, Unknown, VecError
from vecd.base.paths import Paths, name
from vecd.protocol.suites import SUITES

# ---- what is typed


def number(least: int) -> Callable[[str], int]:
    """For argparse: a whole number from `least` on."""

    def read(text: str) -> int:
        # isdecimal takes digits of every script, and no sign.
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) >= least):
            raise ArgumentTypeError(f"{text[:40]!r} is not a whole number from {least} on")
        return int(text)

    return read


def public_key(text: str) -> bytes:
    """For argparse: a public key in hexadecimal digits."""
    try:
        return _key(text)
    except ValueError:
        sizes = ", ".join(f"{2 * (1 + scheme.public)} from {suite:02x} on" for suite, (scheme, _) in SUITES.items())
        raise ArgumentTypeError(
            f"{text[:80]!r} is no public key in hexadecimal digits, of which there are {sizes}: "
            "vecctl status --json has the guard's, as audit.key"
        ) from None


def _key(text: str) -> bytes:
    """The key, if it can be one that verifies signatures. Raises ValueError."""
    key = bytes.fromhex(text)
    scheme = SUITES.get(key[0]) if key else None
    if scheme is None or len(key) != 1 + scheme[0].public:
        raise ValueError("of no suite")
    return key


# ---- logs


def directory(paths: Paths, chain: str) -> Path:
    """The log of this chain below --dir."""
    if chain == roots.GUARD:
        return paths.state_of("guard") / "audit"
    return paths.state_of("card", name(chain.removeprefix("card "), "card")) / "audit"


def form(chain: str) -> Format:
    """How its records are written."""
    return GuardFormat if chain == roots.GUARD else CardFormat


def used(paths: Paths, chain: str) -> bool:
    """The state directory of who writes this log has something in it; one that never started has none, or made nothing.

    So a log that is missing there was removed. Raises Caller, Failed.
    """
    return files.used(directory(paths, chain).parent)


def one(paths: Paths, chain: str) -> str:
    """The chain, if there is, or was, a log of it. Raises Unknown."""
    if not used(paths, chain):
        where = directory(paths, chain)
        raise Unknown(
            f"there is no log of {_who(chain)} in {where}",
            reason=f"{where.parent} is not there, or empty",
            hint="vecctl --dir D, or VECD_DIR=D, names another root; vecctl card list has the cards",
        )
    return chain


def _who(chain: str) -> str:
    return "the guard" if chain == roots.GUARD else chain


def every(paths: Paths) -> list[str]:
    """Every chain that there is, the guard's first, with cards that never wrote one. Raises Unknown where none is."""
    cards = paths.state / "card"
    try:
        names = sorted(path.name for path in cards.iterdir())
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise files.unreadable(cards, error) from None
    chains = [roots.GUARD, *map(roots.card, names)]
    if not any(used(paths, chain) for chain in chains):
        one(paths, roots.GUARD)
    return chains


def names_of(paths: Paths) -> dict[int, str]:
    """Instances by index, as the guard's log has them; a guard's log that cannot be read names nobody."""
    names: dict[int, str] = {}
    with contextlib.suppress(VecError):
        for segment in files.segments(directory(paths, roots.GUARD)):
            for line in (segment.records() or b"").splitlines():
                # Few have one, and there may be millions.
                if b'"index":' in line:
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        row = json.loads(line)
                        names[row["index"]] = str(row["subject"])
    return names


# ---- keys


def authority(options: Namespace, paths: Paths) -> bytes | None:
    """The authority's public key: of --ca, or where it lies; None where it lies nowhere."""
    whose = "run/vecd/ca/ca.pub.json is the authority's, and --ca names a copy"
    return _key_of(Path(options.ca or paths.ca.with_name("ca.pub.json")), bool(options.ca), whose)


def guards(options: Namespace, paths: Paths) -> bytes | None:
    """The same of the guard: --key, or its file."""
    whose = "run/vecd/guard.pub.json is the guard's, which writes it at each start; or name the key with --key HEX"
    return options.key or _key_of(paths.guard_key, False, whose)


def _key_of(path: Path, named: bool, whose: str) -> bytes | None:
    """The sign_key of a file of public keys; None where the file need not be there and is not."""
    try:
        # What was named may be a pipe; what lies there may not.
        data = path.read_bytes() if named else files.plain(path)
        return None if data is None else _key(json.loads(data)["sign_key"])
    except (FileNotFoundError, NotADirectoryError):
        raise Malformed(f"{path} is not there", hint=whose) from None
    except OSError as error:
        raise files.unreadable(path, error) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Malformed(
            f"{path} is no file of public keys", reason='it has no "sign_key" that is a public key', hint=whose
        ) from None
