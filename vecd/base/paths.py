"""Where everything lies: below / in production, below D for `vecd dev --dir D`.

Nothing else in the project spells a path of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

# sockaddr_un.sun_path holds 108 bytes with its end.
SOCKET_PATH_MAX = 107
# The longest name a guest or card may have (the model's names, and a file name below).
NAME_MAX = 32


def name(text: str, what: str = "name") -> str:
    """The text, if it may be a guest's or card's name: a file name, a label on a terminal and nothing more."""
    good = text.isascii() and text[:1].isalnum() and all(c.isalnum() or c in "._-" for c in text)
    if not good or len(text) > NAME_MAX:
        raise ConfigError(
            f"{what} {text[:64]!r} is not a name",
            reason=f"1 to {NAME_MAX} letters, digits, '.', '_', '-', a letter or digit first",
        )
    return text


def socket_path(path: str | Path) -> str:
    """The path as a Unix socket address; raises ConfigError where the kernel has no room for it."""
    size = len(str(path).encode())
    if size > SOCKET_PATH_MAX:
        raise ConfigError(
            f"the socket path {path} has {size} bytes",
            reason=f"the kernel takes {SOCKET_PATH_MAX}",
            hint="use a shorter --dir",
        )
    return str(path)


@dataclass(frozen=True, slots=True)
class Paths:
    """All paths of one installation; `root` is / or the directory of `vecd dev`."""

    root: Path

    def __init__(self, root: str | Path = "/") -> None:
        object.__setattr__(self, "root", Path(root).absolute())

    # -- run: gone after a reboot ------------------------------------------------------------------------------
    @property
    def run(self) -> Path:
        return self.root / "run/vecd"

    @property
    def admin(self) -> Path:
        """vecctl -> guard."""
        return self.run / "admin.sock"

    @property
    def ca_admin(self) -> Path:
        """vecctl -> authority."""
        return self.run / "ca/ca-admin.sock"

    @property
    def ca(self) -> Path:
        """broker -> authority."""
        return self.run / "ca/ca.sock"

    def door(self, door: str) -> Path:
        """A door for people, by its name in the table of calls: "admin" or "ca-admin"."""
        return {"admin": self.admin, "ca-admin": self.ca_admin}[door]

    @property
    def broker(self) -> Path:
        """broker -> guard."""
        return self.run / "broker.sock"

    @property
    def cards(self) -> Path:
        return self.run / "card"

    def card(self, card: str) -> Path:
        """card process -> guard: the door is the name."""
        return self.cards / f"{name(card, 'card')}.sock"

    @property
    def guests(self) -> Path:
        return self.run / "guest"

    def guest(self, guest: str) -> Path:
        """A guest's own socket; bound by the guard, listened on by the broker."""
        return self.guests / f"{name(guest, 'guest')}.sock"

    @property
    def guard_key(self) -> Path:
        """The public key that signs the guard's audit log."""
        return self.run / "guard.pub.json"

    @property
    def boot(self) -> Path:
        """What attest accepted; absent when the boot was not accepted."""
        return self.run / "attest/boot.json"

    # -- state: survives ---------------------------------------------------------------------------------------
    @property
    def state(self) -> Path:
        return self.root / "var/lib/vecd"

    def state_of(self, role: str, card: str = "") -> Path:
        """The private directory of a role; of one card for the role card."""
        base = self.state / role
        return base / name(card, "card") if card else base

    @property
    def policy(self) -> Path:
        """The guard's users, instances and M."""
        return self.state_of("guard") / "policy.json"

    # -- configuration -----------------------------------------------------------------------------------------
    @property
    def config(self) -> Path:
        return self.root / "etc/vecd"

    @property
    def config_file(self) -> Path:
        return self.config / "vecd.toml"

    @property
    def boot_policy(self) -> Path:
        return self.config / "boot.d"

    @property
    def policy_files(self) -> Path:
        """Who may have what, as people write it; `policy` is what the guard made of it."""
        return self.config / "policy.d"

    # -- enrolment ---------------------------------------------------------------------------------------------
    @property
    def cred(self) -> Path:
        return self.state / "cred" if self.root == Path("/") else self.root / "cred"

    def cred_of(self, role: str, card: str = "") -> Path:
        """The directory (0700, the role's own) in which a party finds what it was handed."""
        base = self.cred / role
        return base / name(card, "card") if card else base

    def enrol(self, role: str, card: str = "") -> Path:
        """The answer of token.new as a JSON object (bytes in hex), 0600; the party removes it once it has its
        certificate."""
        return self.cred_of(role, card) / "enrol.json"
