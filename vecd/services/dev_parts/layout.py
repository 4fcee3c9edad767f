"""The directory of `vecd dev`: what lies where, whose it is, and the configuration that follows from it.

Unprivileged, everything belongs to the caller. As root each role gets a uid of its own, counted from dev.uid_base,
and the directories that it writes belong to that uid; D itself is open to be walked through, what holds state or
tokens to nobody but its role.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vecd.base import paths as names
from vecd.base.config import Config
from vecd.base.errors import ConfigError
from vecd.base.paths import Paths, socket_path

FRAGMENT = "50-dev.toml"

# Places among the uids from dev.uid_base on; cards come behind them, in the order of their names.
_PLACES = {"attest": 0, "broker": 1, "authority": 2}
_FIRST_CARD = 16


@dataclass(frozen=True, slots=True)
class Layout:
    paths: Paths
    cards: tuple[str, ...]
    # Who runs as whom: "attest", "broker", "authority", "card c0", ...; empty where everybody is the caller.
    uids: Mapping[str, int]

    @property
    def tpm(self) -> Path:
        return self.paths.root / "tpm"

    @property
    def tpm_socket(self) -> Path:
        return self.tpm / "sock"

    @property
    def tpm_log(self) -> Path:
        return self.tpm / "log"

    @property
    def tcti(self) -> str:
        return f"swtpm:path={self.tpm_socket}"

    def uid(self, role: str, card: str = "") -> int:
        """-1: the caller's."""
        return self.uids.get(f"{role} {card}".strip(), -1)


def plan(paths: Paths, config: Config, cards: Sequence[str], *, one_uid: bool) -> Layout:
    """The layout, before anything was made. Raises ConfigError for what could not work."""
    for card in cards:
        names.name(card, "card")
    if len(set(cards)) != len(cards) or not cards:
        raise ConfigError(f"--cards {','.join(cards)}", reason="each card has a name of its own, and there is one")
    # tpm2-tss and swtpm split their arguments at commas.
    if "," in str(paths.root) or "\n" in str(paths.root):
        raise ConfigError(f"{paths.root} has a comma", reason="swtpm cannot use such a path", hint="use another --dir")
    socket_path(paths.guests / f"{'x' * names.NAME_MAX}.sock")
    uids: dict[str, int] = {}
    if os.geteuid() == 0 and not one_uid:
        _reachable(paths.root)
        base = config.dev.uid_base
        uids = {role: base + place for role, place in _PLACES.items()}
        uids |= {f"card {card}": base + _FIRST_CARD + place for place, card in enumerate(sorted(cards))}
    return Layout(paths, tuple(cards), uids)


def _reachable(root: Path) -> None:
    """D and every directory above it let others through: roles with uids of their own have to get in."""
    for above in (root, *root.parents):
        if above.exists() and not above.stat().st_mode & 0o001:
            raise ConfigError(
                f"{above} lets no other user through",
                reason="as root, each role has a uid of its own and has to reach its files",
                hint="use a --dir elsewhere, or --one-uid",
            )


def make(layout: Layout) -> None:
    """Every directory is there with its owner and mode, and the fragment of the configuration is written."""
    paths, uid = layout.paths, layout.uid
    root = paths.root
    # The ways to the doors: whoever may use a door has to get to it.
    ways = [root / "run", paths.run, paths.cards, paths.guests, root / "etc", paths.config, paths.boot_policy]
    ways += [root / "var", root / "var/lib", paths.state, paths.state / "card", paths.cred, paths.cred / "card"]
    ways += [paths.run / "vecd.toml.d"]
    for path in ways:
        _directory(path, 0o755, -1)
    # Doors and results of roles that are not root.
    _directory(paths.ca.parent, 0o755, uid("authority"))
    _directory(paths.boot.parent, 0o755, uid("attest"))
    # State, tokens and the TPM's state: the role's alone.
    _directory(paths.state_of("guard"), 0o700, -1)
    _directory(layout.tpm, 0o700, uid("attest"))
    for role in ("authority", "broker"):
        _directory(paths.state_of(role), 0o700, uid(role))
        _directory(paths.cred_of(role), 0o700, uid(role))
    for card in layout.cards:
        _directory(paths.state_of("card", card), 0o700, uid("card", card))
        _directory(paths.cred_of("card", card), 0o700, uid("card", card))
    _write(paths.run / "vecd.toml.d" / FRAGMENT, fragment(layout), 0o644)


def fragment(layout: Layout) -> str:
    """The configuration that follows from the layout: who runs as whom, which cards there are, where the TPM is."""
    rows = ["# Written by vecd dev at each start.", "[attest]", f"tcti = {json.dumps(layout.tcti)}"]
    rows += [f"uid = {layout.uid('attest')}"]
    for role in ("broker", "authority"):
        rows += [f"[{role}]", f"uid = {layout.uid(role)}"]
    for card in layout.cards:
        rows += ["[[card]]", f'name = "{card}"', f"uid = {layout.uid('card', card)}"]
    return "\n".join(rows) + "\n"


def hand_over(path: Path, content: str, uid: int) -> None:
    """A file for one role alone: 0600 and its own before anything is in it."""
    _write(path, content, 0o600, uid)


def _directory(path: Path, mode: int, uid: int) -> None:
    try:
        path.mkdir(exist_ok=True)
        path.chmod(mode)
        if os.geteuid() == 0:
            # ROOT: a role's directory belongs to the uid that the role runs as.
            os.chown(path, max(uid, 0), max(uid, 0))
    except OSError as e:
        raise ConfigError(
            f"{path} cannot be made or is not ours", reason=e.strerror or "", hint="use another --dir, or the same user"
        ) from None


def _write(path: Path, content: str, mode: int, uid: int = -1) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            if uid >= 0:
                # ROOT: the file is for the role that reads and removes it.
                os.fchown(fd, uid, uid)
            os.fchmod(fd, mode)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except OSError as e:
        raise ConfigError(f"{path} cannot be written", reason=e.strerror or "") from None
