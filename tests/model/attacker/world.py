"""The stage: who is registered, what is known at the start, and the machines that the attacker plays with.

A and B are honest users, C and H honest cards. E is a registered user and X a registered card whose private keys the
attacker has; it is the broker D, too, and so the network. Everybody is registered by the real machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from vecd.pki.profile import Profile
from vecd.pki.registrar import Registrar
from vecd.protocol.authority import Authority
from vecd.protocol.broker import BrokerParty, registration2
from vecd.protocol.card import CardParty
from vecd.protocol.identity import Identity, Invitation
from vecd.protocol.messages import BROKER, CARD, USER, Message8, unpack
from vecd.protocol.registration import Enrolment, enrol_broker, enrol_card, enrol_user
from vecd.protocol.suites import PrivateKeys
from vecd.protocol.user import UserParty

from . import symbolic
from .knowledge import Knowledge
from .machines import (
    ALG,
    ALGS,
    NOW,
    TICK,
    USAGE,
    USAGES,
    AuthoritySteps,
    CardSteps,
    Chance,
    Mark,
    Move,
    UserSteps,
    Vault,
)
from .register import Memory
from .symbolic import SUITE, label_of, term_of
from .terms import Term

# Layers that only keep out who is not the attacker, or keep from it what it may as well see: it reads through all
# but those around K, which is more than it could in reality.
CLOSED = frozenset({"k7", "attach", "token"})


def glass(sealed: Term) -> bool:
    return label_of(sealed) not in CLOSED


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a user: with which card, and with which of its keys. K and L are A's, M is B's."""

    card: str = "C"
    key: str = "K"
    user: str = "A"
    #: It loads its key as soon as the card is verified; without that, it has come back for a connection alone.
    load: bool = True


@dataclass(frozen=True, slots=True)
class Scope:
    """How much of everything there is; the number of messages that the attacker makes is not bounded."""

    name: str
    words: str
    runs: tuple[Run, ...] = (Run(),)
    card_sessions: int = 2
    ca_sessions: int = 2
    #: A whole session of A and C took place, and its messages are known: "forgotten" by the card, or "kept".
    recorded: str = ""
    #: The honest cards, each with so many sessions; whom a session may be said to be with.
    cards: tuple[str, ...] = ("C",)
    peers: tuple[str, ...] = ("A", "E")
    #: E and X may use nonces of others as their own.
    reuse: bool = False
    #: Runs ask for a data connection in the end.
    attach: bool = False
    #: E and X are certified with the encryption keys of A and C, which nobody had them prove.
    borrowed: bool = False


class Stage:
    """The authority and whoever is registered by it; `seen` is every message that was sent."""

    def __init__(self, constant: frozenset[str] = frozenset(), register: Any = None) -> None:
        self.chance = Chance()
        #: Random values that are always the same: how a nonce is taken out of every message.
        self.chance.constant = constant
        self.seen: list[bytes] = []
        self.keys: dict[str, PrivateKeys] = {"CA": symbolic.keys("CA")}
        self.ids: dict[str, bytes] = {}
        self.parties: dict[str, Identity] = {}
        self.past: frozenset[Mark] = frozenset()
        #: Who registers with somebody else's encryption key.
        self.borrowed: dict[str, str] = {}
        self.secrets = {key: symbolic.atom(key) for key in "KLM"}
        #: The attacker's own key, which E has registered.
        self.own_key = symbolic.known("K_E", 32)
        self.register = Memory(self.chance.number) if register is None else register
        profile = Profile(suites=frozenset({SUITE}))
        # All numbers of the set-up are drawn in steps of their own names.
        self.chance.begin("token", "CA")
        self._registrar = Registrar(self.register, self.keys["CA"], self.chance, profile)
        self.authority = Authority(self.register, self.keys["CA"], self.chance, profile)

    def invite(self, role: str, name: str) -> Invitation:
        self.chance.begin("token", name)
        invitation = self._registrar.token_new(role, name, NOW)
        self.keys[name], self.ids[name] = symbolic.keys(name), invitation.id
        return invitation

    def enrolment(self, invitation: Invitation) -> Enrolment:
        role, name = invitation.role, invitation.name
        self.chance.begin("r_K" if role == USER else "n_x", name)
        keys = self.keys[name]
        if name in self.borrowed:
            keys = SimpleNamespace(
                suite=keys.suite,
                sign_key=keys.sign_key,
                sign_with=keys.sign_with,
                seal_key=self.keys[self.borrowed[name]].seal_key,
            )
        given = invitation, keys, self.chance, TICK
        if role == USER:
            secret = {"A": self.secrets["K"], "B": self.secrets["M"], "E": self.own_key}[name]
            return enrol_user(*given, secret=bytes(bytearray(secret)), alg=ALG, usage=USAGE)
        return enrol_card(*given) if role == CARD else enrol_broker(*given)

    def enrol(self, role: str, name: str) -> None:
        """The party is registered, through the broker D."""
        invitation = self.invite(role, name)
        e = self.enrolment(invitation)
        self.chance.begin("serial", name)
        message2 = registration2(self.ids["D"], self.keys["D"], invitation.ca, e.message)
        body = self.authority.register(message2, NOW).body
        self.seen += [e.message, message2, body]
        if name in self.borrowed:
            # Its certificate is sealed to somebody else; it needs none.
            return
        self.parties[name] = e.accept(body, NOW, TICK)

    def known(self, *more: Term) -> Knowledge:
        """What the attacker has at the start: its insiders' private keys, all public ones, all that was sent."""
        insiders = [secret for owner in "EXD" for secret in symbolic.secrets(owner)]
        everybody = [term_of(key) for who in self.keys.values() for key in (who.sign_key, who.seal_key)]
        return Knowledge((*insiders, *everybody, *map(term_of, self.seen), *more), glass)


class World(Stage):
    """A scope's machines in their first states, and what the attacker knows then."""

    def __init__(self, scope: Scope, constant: frozenset[str] = frozenset(), register: Any = None) -> None:
        super().__init__(constant, register)
        self.scope = scope
        #: Ids that the attacker writes where a user, or a card, is expected.
        self.user_names = tuple(dict.fromkeys([*(run.user for run in scope.runs), "E"]))
        self.card_names = (*scope.cards, "X")
        self.borrowed = {"E": scope.runs[0].user, "X": scope.cards[0]} if scope.borrowed else {}
        self.enrol(BROKER, "D")
        for role, names in ((USER, self.user_names), (CARD, self.card_names)):
            for name in names:
                self.enrol(role, name)
        self.users = {name: UserParty(self.parties[name], self.chance) for name in self.user_names if name != "E"}
        #: Each user's instance, connected to every card.
        self.instances = {name: symbolic.known(f"i_{name}") for name in self.user_names}
        if any(run.key == "L" for run in scope.runs):
            self._second_key()
        first, drawn = self._card(scope.cards[0]), frozenset()
        if scope.recorded:
            first, drawn = self._record(first)
        self.started = [self._start(n, run) for n, run in enumerate(scope.runs, 1)]
        cards = [first, *map(self._card, scope.cards[1:])]
        owners = {self.instances[name]: self.ids[name] for name in self.user_names}
        self.cards = [CardSteps(n, c, self.chance, drawn) for n, c in zip(scope.cards, cards, strict=True)]
        for card in self.cards:
            card.owners = owners
        self.ca = AuthoritySteps("CA", self.authority, self.chance)
        self.ca.insider = self.ids["E"]
        self.machines = (*self.started, *self.cards, self.ca)
        #: Machine and event: no more of them than this, counted by what is drawn in each.
        self.limits = {(len(self.machines) - 1, 3): ("sid", scope.ca_sessions)}
        for which, card in enumerate(self.cards, len(scope.runs)):
            self.limits[which, 1] = "n_c", card.drawn(0, "n_c") + scope.card_sessions
        self.knowledge = self.known()

    # ---- set-up ----------------------------------------------------------------------------------------------

    def _second_key(self) -> None:
        """A registers L, too."""
        self.chance.begin("r_L", "A")
        asked = self.users["A"].register_key(self.secrets["L"], ALG, USAGE, "", TICK)
        answer = self.authority.key(self.ids["A"], asked.message, NOW).body
        record = asked.accept(answer, TICK)
        self.users["A"].identity = self.parties["A"] = self.parties["A"].with_key(record)
        self.seen += [asked.message, answer]

    def _card(self, name: str) -> CardParty:
        return CardParty(self.parties[name], Vault(self.chance), self.chance, algs=ALGS, usages=USAGES)

    def _start(self, number: int | str, run: Run) -> UserSteps:
        self.chance.begin("n_u", str(number))
        user, secret = self.users[run.user], self.secrets[run.key]
        started = user.open(self.ids[run.card], TICK)
        record = user.identity.record_of(secret)
        assert record is not None
        self.seen.append(started.message1)
        return UserSteps(str(number), started, secret, record if run.load else None, self.chance)

    def _record(self, card: CardParty) -> tuple[CardParty, frozenset[str]]:
        """A whole session is over; what the card knows of it depends on the scope."""
        before = self.seen.copy()
        user = self._start("old", self.scope.runs[0])
        machines = (user, CardSteps("C before", card, self.chance), AuthoritySteps("CA", self.authority, self.chance))
        path = honest(self, machines)
        self.seen = [*before, user.nodes[0].machine.message1, *(symbolic.bytes_of(t) for _, sent in path for t in sent)]
        ends = [machine.nodes[-1] for machine in machines]
        self.past = frozenset(mark for end in ends for mark in end.marks if mark[0] != "holds")
        self.authority, self.register = ends[2].machine, ends[2].machine._register
        # A card that forgot draws no nonce twice all the same.
        return ends[1].machine if self.scope.recorded == "kept" else self._card("C"), ends[1].drawn


def honest(world: World, machines: tuple[UserSteps, CardSteps, AuthoritySteps]) -> list[tuple[Move, tuple[Term, ...]]]:
    """Messages 1 to 12 of one run, handed on by the real broker: each move and what it sent.

    The machines' last nodes are their last states then.
    """
    user, cards, ca = machines
    relay = BrokerParty(world.parties["D"]).relay(world.ids["A"], TICK)
    at, path = [0, 0, 0], []

    def step(which: int, move: Move) -> list[bytes]:
        done = machines[which].step(at[which], move)
        assert done is not None, f"an honest message {move[0]} was refused"
        at[which] = done.to
        path.append((move, done.sent))
        return [symbolic.bytes_of(term) for term in done.sent]

    message1 = user.nodes[0].machine.message1
    (m2,) = step(1, (1, relay.verify(message1, TICK).body))
    to_card, to_user = step(2, (3, relay.card_answered(m2, TICK)))
    m5, m6 = relay.certified(to_card, to_user, TICK)
    step(1, (5, m5.body))
    (m7,) = step(0, (6, m6))
    (m8,) = step(1, (7, relay.load(m7, TICK).body))
    m9 = relay.card_loaded(m8, TICK)
    to_card, to_user = step(2, (9, unpack(Message8, m9, "").sid, m9))
    m11, m12 = relay.confirmed(to_card, to_user, TICK)
    step(1, (11, m11.body))
    step(0, (12, m12))
    return path
