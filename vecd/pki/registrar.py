"""What the operator asks of the register: tokens, the list of parties, revocation. Pure, over `Register`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from vecd.base.errors import Malformed, Unknown
from vecd.base.paths import name as checked_name
from vecd.protocol.identity import CaKeys, Invitation
from vecd.protocol.messages import CARD, ID_SIZE, NONCE_SIZE, ROLES, USER, context
from vecd.protocol.suites import PrivateKeys, seal

from .profile import Profile


@dataclass(frozen=True, slots=True)
class Party:
    """One line of the register. state: "invited", "registered", "revoked" or "expired"; serial and expiry are those
    of the certificate, or None."""

    role: str
    name: str
    id: bytes
    serial: int | None
    state: str
    expiry: int | None


class Transaction(Protocol):
    def party_id(self, role: str, name: str) -> bytes | None: ...
    def add_party(self, role: str, name: str, id: bytes) -> None: ...
    def issue_token(self, role: str, id: bytes, sealed: bytes, expires: int) -> None:
        """The only token of this id that may be used."""

    def parties(self, now: int) -> list[Party]: ...
    def revoke(self, id: bytes) -> bool:
        """Whether the id is known; its certificate and its token are void."""


class Register(Protocol):
    def transaction(self) -> AbstractContextManager[Transaction]: ...


class Registrar:
    def __init__(self, register: Register, keys: PrivateKeys, random: Callable[[int], bytes], profile: Profile) -> None:
        self._register, self._keys, self._random, self._profile = register, keys, random, profile

    def token_new(
        self, role: str, name: str, now: int, *, valid_s: int | None = None, card: str | None = None
    ) -> Invitation:
        """A one-time token for this party; an earlier one that was not used is void. The same name keeps its id.

        `card` names a registered card that a user is to pin. Raises Malformed, Unknown, ConfigError (name).
        """
        checked_name(name)
        if role not in ROLES:
            raise Malformed(f"no role {role[:32]!r}", hint=f"roles are {', '.join(ROLES)}")
        seconds = self._profile.token_s if valid_s is None else valid_s
        if not 1 <= seconds <= self._profile.token_max_s:
            raise Malformed(f"a token for {seconds} s", reason=f"it may be good for 1 to {self._profile.token_max_s} s")
        if card is not None and role != USER:
            raise Malformed("only a user pins a card", hint="leave --card out")
        token, expires = self._random(NONCE_SIZE), now + seconds
        with self._register.transaction() as t:
            card_id = None
            if card is not None and (card_id := t.party_id(CARD, card)) is None:
                raise Unknown(f"no card {card[:64]!r} in the register", object=card[:64], hint="vecctl card list")
            if (id := t.party_id(role, name)) is None:
                id = self._random(ID_SIZE)
                t.add_party(role, name, id)
            # The register holds no token in clear: reading it is not enough to enrol.
            sealed = seal(self._keys.seal_key, "token", context(role.encode(), id), token)
            t.issue_token(role, id, sealed, expires)
        ca = CaKeys(self._keys.sign_key, self._keys.seal_key)
        return Invitation(role, id, name, token, expires, ca, card_id, card or "")

    def list(self, now: int) -> list[Party]:
        with self._register.transaction() as t:
            return t.parties(now)

    def revoke(self, id: bytes) -> None:
        """The id's certificate and token are void; only a new token lets it in again."""
        with self._register.transaction() as t:
            if not t.revoke(id):
                raise Unknown(f"no party {id[:ID_SIZE].hex()} in the register")
