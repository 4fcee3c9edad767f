"""Registration 1 and 4 from the side of whoever is registered: user, card and broker alike.

docs/protocol.md, "Registration". One `Enrolment` is one try; the token it uses is good for one.
"""

from __future__ import annotations

from collections.abc import Callable

from vecd.base.errors import ConfigError, VecError

from .checks import in_state, require
from .identity import Identity, Invitation, KeyRecord, kcv_of
from .messages import (
    BROKER,
    CARD,
    NONCE_SIZE,
    STATE_TIMEOUT_S,
    USER,
    BrokerR,
    CardR,
    CertContext,
    Certificate,
    Reg1,
    RegInner,
    ToParty,
    UserR,
    context,
    opened,
    pack,
    unpack,
)
from .suites import Keys, mac, open_, seal, sign

Random = Callable[[int], bytes]
RULE = "registration 4"


class Enrolment:
    """Registration 1 is `message`; `accept` reads 4, within 5 s, and gives the identity."""

    def __init__(
        self,
        invitation: Invitation,
        keys: Keys,
        r: UserR | CardR | BrokerR,
        tick: float,
        record: KeyRecord | None,
    ) -> None:
        self._invitation, self._keys, self._n_x, self._record = invitation, keys, r.n_x, record
        self._state = "open"
        self._deadline = tick + STATE_TIMEOUT_S
        inner = pack(r)
        t = mac(invitation.token, "regtok", inner)
        body = pack(RegInner(inner, sign(keys, "reg", inner), t))
        if invitation.role == USER:
            body = seal(invitation.ca.seal_key, "reg", context(invitation.role.encode(), invitation.id), body)
        self.message = pack(Reg1(invitation.role, invitation.id, body))

    def accept(self, message4: bytes, now: int, tick: float) -> Identity:
        """The identity, once every check of registration 4 holds. Raises ProtocolRefused and stays as it was."""
        mine, keys = self._invitation, self._keys
        if self._state == "open" and tick > self._deadline:
            self._state = "closed: timed out"
        in_state(self._state, ("open",), RULE)
        to = unpack(ToParty, message4, RULE)
        require(to.id_x == mine.id, RULE, "it is for another party")  # R4.1
        try:
            statement = open_(keys, "cert", pack(CertContext(mine.id, self._n_x)), to.blob)  # R4.2
        except VecError:
            require(False, RULE, "it is not sealed to this party for this registration")
        c = opened(Certificate, statement, mine.ca.sign_key, "cert", RULE)  # R4.3
        require(c.role == mine.role, RULE, "the certificate is for another role")  # R4.4
        require(c.id_x == mine.id, RULE, "the certificate is for another id")  # R4.5
        require(c.pkE_x == keys.seal_key, RULE, "the certificate is for another encryption key")  # R4.6
        require(c.pkS_x == keys.sign_key, RULE, "the certificate is for another signature key")  # R4.7
        require(c.n_x == self._n_x, RULE, "the certificate answers another registration")  # R4.8
        require(c.nbf <= now < c.exp, RULE, "the certificate is not valid now", "compare the clocks")  # R4.9
        self._state = "done"
        return Identity(
            role=mine.role,
            id=mine.id,
            name=mine.name,
            keys=keys,
            certificate=statement,
            ca=mine.ca,
            registered=(self._record,) if self._record is not None else (),
            card_id=mine.card_id,
            card_name=mine.card_name,
        )


def enrol_user(
    invitation: Invitation,
    keys: Keys,
    random: Random,
    tick: float,
    *,
    secret: bytes | memoryview,
    alg: str,
    usage: int,
    name: str = "",
) -> Enrolment:
    """A user registers, and with it the first key: `secret` is K, of which only kcv leaves."""
    _of_role(invitation, USER)
    n_x, r_k = random(NONCE_SIZE), random(NONCE_SIZE)
    record = KeyRecord(name, alg, usage, kcv_of(secret, invitation.id, alg, usage, r_k), r_k)
    r = UserR(USER, invitation.id, keys.seal_key, keys.sign_key, n_x, alg, usage, record.kcv, r_k)
    return Enrolment(invitation, keys, r, tick, record)


def enrol_card(invitation: Invitation, keys: Keys, random: Random, tick: float, *, evidence: bytes = b"") -> Enrolment:
    """A card registers; `evidence` is what the authority's policy asks of it."""
    _of_role(invitation, CARD)
    r = CardR(CARD, invitation.id, keys.seal_key, keys.sign_key, random(NONCE_SIZE), evidence)
    return Enrolment(invitation, keys, r, tick, None)


def enrol_broker(invitation: Invitation, keys: Keys, random: Random, tick: float) -> Enrolment:
    """The broker registers; it relays its own message as it would anybody's."""
    _of_role(invitation, BROKER)
    r = BrokerR(BROKER, invitation.id, keys.seal_key, keys.sign_key, random(NONCE_SIZE))
    return Enrolment(invitation, keys, r, tick, None)


def _of_role(invitation: Invitation, role: str) -> None:
    if invitation.role != role:
        raise ConfigError(
            f"this enrolment file is for a {invitation.role}, not for a {role}", hint=f"ask for one with --role {role}"
        )
