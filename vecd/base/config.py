"""The configuration: vecd.toml and its fragments, as frozen dataclasses.

Read in this order, the later winning key by key: usr/lib/vecd/vecd.toml, etc/vecd/vecd.toml, then the fragments
vecd.toml.d/*.toml of usr/lib/vecd, run/vecd and etc/vecd by file name, where etc replaces a fragment of the same name
in run, and run one in usr/lib. Rows of [[card]] are merged by name. An unknown key, a wrong type or a bad file name
stops the start. What the machine must be and who may do what is no configuration: boot.d, and the guard's policy.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import paths as names
from .errors import ConfigError
from .paths import Paths


def _number(default: float, low: float, high: float) -> Any:
    return field(default=default, metadata={"range": (low, high)})


def _one_of(*words: str) -> Any:
    """The first is the default."""
    return field(default=words[0], metadata={"words": words})


def _uid() -> Any:
    """-1: whoever starts the process; as root, it then stays root, without capabilities."""
    return _number(-1, -1, 2**31 - 2)


@dataclass(frozen=True, slots=True)
class Guard:
    # Members may change things with vecctl; root always may.
    admin_group: str = "vecd-admin"
    # Members may look.
    read_group: str = "vecd"
    # How long a revocation waits for work in flight before the card is reset.
    drain_s: float = _number(1.0, 0.01, 60)
    # How long cards keep their key slots without a guard.
    guard_away_s: float = _number(10.0, 1, 600)
    # Tokens a second that each guest has for what changes something: a start-up costs 24, a release 10.
    guest_rate: float = _number(600.0, 1, 1000000)
    # How many of them it may save up.
    guest_burst: float = _number(6000.0, 20, 1000000)


@dataclass(frozen=True, slots=True)
class Broker:
    # The uid the broker runs as, and the only one that may knock at its doors.
    uid: int = _uid()
    # Connections of one peer that have not proved who they are.
    peer_connections: int = _number(8, 1, 1024)
    # The same of all peers together.
    all_connections: int = _number(512, 1, 16384)
    # Connections of one peer that have proved it.
    proven_connections: int = _number(64, 1, 16384)
    # How long a guest may stay in one state of the protocol.
    state_s: float = _number(5.0, 0.1, 300)
    # How long an instance keeps c on a card after its last connection went.
    linger_s: float = _number(30.0, 0, 86400)


@dataclass(frozen=True, slots=True)
class Authority:
    # The uid the authority runs as.
    uid: int = _uid()
    # Members may enrol and revoke with vecctl; root always may.
    admin_group: str = "vecd-ca-admin"
    # How long an enrolment token is good, unless its maker says otherwise.
    token_s: int = _number(86400, 1, 30 * 86400)
    # How long a certificate is good.
    certificate_s: int = _number(365 * 86400, 60, 3650 * 86400)
    # How long a signed statement may be accepted.
    statement_s: int = _number(300, 1, 300)


@dataclass(frozen=True, slots=True)
class Attest:
    # The uid attest runs as.
    uid: int = _uid()
    # How the TPM is reached, in the words of tpm2-tss.
    tcti: str = "device:/dev/tpmrm0"
    # Where the boot policy lies; empty: etc/vecd/boot.d.
    policy: str = ""
    # Whether a boot that is not as recorded ends the start. False is for machines without a TPM.
    required: bool = True
    # How long the TPM may take.
    timeout_s: float = _number(10.0, 0.1, 120)


@dataclass(frozen=True, slots=True)
class Card:
    # Its name: door, unit, and what vecctl shows.
    name: str = ""
    # Which module of vecd/cards drives it.
    driver: str = "soft"
    # The uid its process runs as.
    uid: int = _uid()
    # Key slots: how many keys can be loaded at a time, of all guests together. The key arena has room for about 800.
    slots: int = _number(256, 1, 768)
    # How its instances share it: "fair" gives each its part of the time and wastes none, so that a busy neighbour can
    # be noticed; "strict" gives fixed turns, idle ones too, so that nobody can be noticed by them.
    share: str = _one_of("fair", "strict")
    # Strict: how long a turn is, in microseconds. What does not fit into one is refused.
    slot_us: int = _number(10000, 2000, 200000)


@dataclass(frozen=True, slots=True)
class Audit:
    # How long the log of the guard, and that of each card, may become; the oldest files go first.
    keep_mb: int = _number(1024, 16, 1 << 20)
    # What happens while the disk takes no record: "stop": nothing happens that cannot be recorded; "drop": it does, and
    # how many records are missing is recorded later.
    on_full: str = _one_of("stop", "drop")


@dataclass(frozen=True, slots=True)
class Dev:
    # As root, `vecd dev` gives its processes this uid and those above it.
    uid_base: int = _number(61184, 1, 2**31 - 66000)
    # How long a process may take until it is ready.
    ready_s: float = _number(30.0, 1, 600)
    # How long a process may take to end.
    stop_s: float = _number(5.0, 0.1, 600)


@dataclass(frozen=True, slots=True)
class Config:
    guard: Guard = Guard()
    broker: Broker = Broker()
    authority: Authority = Authority()
    attest: Attest = Attest()
    audit: Audit = Audit()
    card: tuple[Card, ...] = ()
    dev: Dev = Dev()
    # Which file each value came from that is not a default, as "broker.linger_s" or "card.c0.slots".
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def card_of(self, name: str) -> Card:
        """The row of a card; raises ConfigError for a card that has none."""
        for row in self.card:
            if row.name == name:
                return row
        known = ", ".join(row.name for row in self.card) or "none"
        raise ConfigError(f"there is no [[card]] {name[:64]!r}", reason=f"known are: {known}")


_TABLES = {"guard": Guard, "broker": Broker, "authority": Authority, "attest": Attest, "audit": Audit, "dev": Dev}
_WORDS: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "str": str, "bool": bool}


def files(paths: Paths) -> list[Path]:
    """Every file that is read, in the order in which it is; raises ConfigError for a fragment with a bad name."""
    bases = [paths.root / "usr/lib/vecd", paths.run, paths.config]
    fragments: dict[str, Path] = {}
    for base in bases:
        for path in sorted((base / "vecd.toml.d").glob("*")):
            if path.name.startswith(".") or path.is_dir():
                continue
            if path.suffix != ".toml":
                raise ConfigError(f"{path} is not read", reason="a fragment's name ends in .toml", hint="move it away")
            fragments[path.name] = path
    mains = [base / "vecd.toml" for base in (bases[0], bases[2])]
    return [path for path in mains if path.exists()] + [fragments[name] for name in sorted(fragments)]


def load(paths: Paths) -> Config:
    """The configuration below these paths. Raises ConfigError with file, key and the nearest known key."""
    tables: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}
    cards: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    for path in files(paths):
        try:
            with path.open("rb") as file:
                content = tomllib.load(file)
        except (OSError, ValueError) as e:
            raise ConfigError(f"{path} cannot be read", reason=str(e)) from None
        for table, value in content.items():
            if table == "card":
                _cards(path, value, cards, sources)
            else:
                kind = _TABLES.get(table) or _unknown(path, "", table, [*_TABLES, "card"])
                _keys(path, table, kind, value, tables[table], sources)
    return Config(
        **{name: kind(**tables[name]) for name, kind in _TABLES.items()},
        card=tuple(Card(**row) for row in cards.values()),
        sources=sources,
    )


def _cards(path: Path, rows: Any, cards: dict[str, dict[str, Any]], sources: dict[str, str]) -> None:
    if not isinstance(rows, list):
        raise ConfigError(f"{path}: card is not a list of tables", hint="write [[card]], not [card]")
    for row in rows:
        name = row.get("name") if isinstance(row, dict) else None
        if not isinstance(name, str):
            raise ConfigError(f"{path}: a [[card]] has no name", hint='add: name = "c0"')
        names.name(name, f"{path}: card")
        _keys(path, f"card.{name}", Card, row, cards.setdefault(name, {}), sources)


def _keys(path: Path, table: str, kind: type, given: Any, into: dict[str, Any], sources: dict[str, str]) -> None:
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: {table} is not a table", hint=f"write [{table}]")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key, value in given.items():
        f = fields.get(key) or _unknown(path, table, key, list(fields))
        into[key] = _value(path, f"{table}.{key}", f, value)
        sources[f"{table}.{key}"] = str(path)


def _value(path: Path, key: str, f: dataclasses.Field[Any], value: Any) -> Any:
    word, given = str(f.type), value
    # TOML has booleans; to Python they are integers.
    if not isinstance(given, _WORDS[word]) or (isinstance(given, bool) and word != "bool"):
        raise ConfigError(f"{path}: {key} = {value!r:.64}", reason=f"it must be of type {word}")
    words = f.metadata.get("words")
    if words is not None and value not in words:
        near = difflib.get_close_matches(value, words, 1, 0.0)[0]
        reason = f"it must be one of {', '.join(words)}"
        raise ConfigError(f"{path}: {key} = {value!r:.64}", reason=reason, hint=f"did you mean {near!r}?")
    low, high = f.metadata.get("range", (None, None))
    if low is not None and not low <= value <= high:
        raise ConfigError(f"{path}: {key} = {value!r:.64}", reason=f"it must be from {low:g} to {high:g}")
    return float(value) if word == "float" else value


def _unknown(path: Path, table: str, key: str, known: list[str]) -> Any:
    near = difflib.get_close_matches(key, known, 1, 0.0)
    where = f"key {table}.{key}" if table else f"table [{key}]"
    raise ConfigError(f"{path}: {where[:100]} is not known", hint=f"did you mean {near[0]!r}?" if near else "")
