"""The stage: who is registered, what is known at the start, and the machines that the attacker plays with.

A and B are honest users, C and H honest cards. E is a registered user and X a registered card whose private keys the
attacker has; it is the broker D, too, and so the network. Everybody is registered by the real machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vecd.pki.profile import Profile
from vecd.pki.registrar import Registrar
from vecd.protocol.authority import Authority
from vecd.protocol.broker import BrokerParty, registration2
from vecd.protocol.card import CardParty
from vecd.protocol.identity import Identity
from vecd.protocol.messages import BROKER, CARD, USER, Message8, unpack
from vecd.protocol.registration import enrol_broker, enrol_card, enrol_user
from vecd.protocol.suites import PrivateKeys
from vecd.protocol.user import UserParty

from . import symbolic
from .knowledge import Knowledge
from .machines import ALG, ALGS, NOW, TICK, USAGE, USAGES, AuthoritySteps, CardSteps, Chance, Mark, UserSteps, Vault
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


@dataclass
class World:
    """A scope's machines in their first states, and what the attacker knows then."""

    scope: Scope
    chance: Chance = field(default_factory=Chance)
    keys: dict[str, PrivateKeys] = field(default_factory=dict)
    ids: dict[str, bytes] = field(default_factory=dict)
    parties: dict[str, Identity] = field(default_factory=dict)
    past: frozenset[Mark] = frozenset()
    #: Random values that are always the same: how a nonce is taken out of every message.
    constant: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.seen: list[bytes] = []
        self.chance.constant = self.constant
        self.secrets = {key: symbolic.atom(key) for key in "KLM"}
        #: The attacker's own key, which E has registered.
        self.own_key = symbolic.known("K_E", 32)
        self.register = Memory(self.chance.number)
        self.keys["CA"] = symbolic.keys("CA")
        profile = Profile(suites=frozenset({SUITE}))
        # All numbers of the set-up are drawn in steps of their own names.
        self.chance.begin("token", "CA")
        self._registrar = Registrar(self.register, self.keys["CA"], self.chance, profile)
        self.authority = Authority(self.register, self.keys["CA"], self.chance, profile)
        #: Ids that the attacker writes where a user, or a card, is expected.
        self.user_names = tuple(dict.fromkeys([*(run.user for run in self.scope.runs), "E"]))
        self.card_names = (*self.scope.cards, "X")
        self._enrol(BROKER, "D")
        for role, names in ((USER, self.user_names), (CARD, self.card_names)):
            for name in names:
                self._enrol(role, name)
        self.users = {name: UserParty(self.parties[name], self.chance) for name in self.user_names}
        if any(run.key == "L" for run in self.scope.runs):
            self._second_key()
        first, drawn = self._card(self.scope.cards[0]), frozenset()
        if self.scope.recorded:
            first, drawn = self._record(first)
        self.started = [self._start(n, run) for n, run in enumerate(self.scope.runs, 1)]
        self.cards = [CardSteps(self.scope.cards[0], first, self.chance, drawn)]
        self.cards += [CardSteps(name, self._card(name), self.chance) for name in self.scope.cards[1:]]
        self.ca = AuthoritySteps("CA", self.authority, self.chance)
        self.ca.insider = self.ids["E"]
        self.machines = (*self.started, *self.cards, self.ca)
        insiders = [secret for owner in "EXD" for secret in symbolic.secrets(owner)]
        everybody = [term_of(key) for who in self.keys.values() for key in (who.sign_key, who.seal_key)]
        known = (*insiders, *everybody, *map(term_of, self.seen))
        self.knowledge = Knowledge(known, glass)

    # ---- set-up ----------------------------------------------------------------------------------------------

    def _enrol(self, role: str, name: str) -> None:
        self.chance.begin("token", name)
        invitation = self._registrar.token_new(role, name, NOW)
        keys = self.keys[name] = symbolic.keys(name)
        self.ids[name] = invitation.id
        self.chance.begin("r_K" if role == USER else "n_x", name)
        if role == USER:
            secret = {"A": self.secrets["K"], "B": self.secrets["M"], "E": self.own_key}[name]
            e = enrol_user(invitation, keys, self.chance, TICK, secret=secret, alg=ALG, usage=USAGE)
        elif role == CARD:
            e = enrol_card(invitation, keys, self.chance, TICK)
        else:
            e = enrol_broker(invitation, keys, self.chance, TICK)
        self.chance.begin("serial", name)
        message2 = registration2(self.ids["D"], self.keys["D"], invitation.ca, e.message)
        body = self.authority.register(message2, NOW).body
        self.parties[name] = e.accept(body, NOW, TICK)
        self.seen += [e.message, message2, body]

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
        return UserSteps(str(number), started, secret, record, self.chance)

    def _record(self, card: CardParty) -> tuple[CardParty, frozenset[str]]:
        """A whole session is over; what the card knows of it depends on the scope."""
        before = self.seen.copy()
        user = self._start("old", self.scope.runs[0])
        machines = (user, CardSteps("C before", card, self.chance), AuthoritySteps("CA", self.authority, self.chance))
        _, path = honest(self, machines)
        self.seen = [*before, user.nodes[0].machine.message1, *(symbolic.bytes_of(t) for step in path for t in step)]
        ends = [machine.nodes[-1] for machine in machines]
        self.past = frozenset(mark for end in ends for mark in end.marks if mark[0] != "holds")
        self.authority, self.register = ends[2].machine, ends[2].machine._register
        # A card that forgot draws no nonce twice all the same.
        return ends[1].machine if self.scope.recorded == "kept" else self._card("C"), ends[1].drawn


def honest(world: World, machines: tuple[UserSteps, CardSteps, AuthoritySteps]) -> tuple[list[int], list]:
    """Messages 1 to 12 of one run, handed on by the real broker; the last states are the machines' last nodes."""
    user, cards, ca = machines
    relay = BrokerParty(world.parties["D"]).relay(world.ids["A"], TICK)
    at, path = [0, 0, 0], []

    def step(which: int, move: tuple) -> list[bytes]:
        done = machines[which].step(at[which], move)
        assert done is not None, f"an honest message {move[0]} was refused"
        at[which] = done.to
        path.append(done.sent)
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
    return at, path
