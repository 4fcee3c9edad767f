"""The machines of vecd.protocol as the explorer steps them: each step a call of the real method on a copy.

A machine's states are numbered; the same state is never built twice, whoever came there first. What a step draws is
named after what it answers, not after its turn, so that two orders of independent steps lead to one state. A refusal
has to leave the machine as it was: that is checked at every one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from vecd.base.errors import VecError
from vecd.protocol.authority import Authority
from vecd.protocol.card import CardParty
from vecd.protocol.identity import KeyRecord
from vecd.protocol.messages import Message3, Sealed3, unpack
from vecd.protocol.registration import Enrolment
from vecd.protocol.user import UserRun

from . import symbolic
from .snapshot import fork, state
from .symbolic import term_of
from .terms import Term

NOW, TICK = 1_800_000_000, 1000.0
ALG, USAGE = "AES-256-GCM", 3
ALGS, USAGES = {ALG: 32}, 7

# (event, bytes, ..): a message that is given to a machine.
Move = tuple[Any, ...]
# What a claim speaks of: ("sent", ..), ("done", ..), ("active", ..), ("holds", ..); see claims.py.
Mark = tuple[Any, ...]


class Chance:
    """Where all machines get randomness and numbers: names, `of` what and for which step."""

    shared = True

    def __init__(self) -> None:
        self._of, self._step, self.drawn = "", "", frozenset()
        #: Kinds that are always the same: how a nonce is taken out of the protocol.
        self.constant: frozenset[str] = frozenset()

    def begin(self, of: str, step: str, drawn: frozenset[str] = frozenset()) -> None:
        self._of, self._step, self.drawn = of, step, drawn

    def __call__(self, size: int) -> bytes:
        return symbolic.known(self._step) if size == 16 else symbolic.atom(self._name(self._of), size)

    def number(self, of: str) -> int:
        return symbolic.number(self._name(of))

    def _name(self, of: str) -> str:
        text = f"{of}[{self._step}]"
        while text in self.drawn:
            text += "'"
        self.drawn |= {text}
        return of if of in self.constant else text


class Vault:
    """A card's vault: K is kept by handle."""

    def __init__(self, chance: Chance) -> None:
        self.secrets: dict[int, bytes] = {}
        self._chance = chance

    def stage(self, secret: memoryview) -> int:
        handle = self._chance.number("handle")
        self.secrets[handle] = bytes(secret)
        return handle

    def kcv(self, handle: int, data: bytes) -> bytes:
        return symbolic.mac(self.secrets[handle], data)

    def drop(self, handle: int) -> None:
        del self.secrets[handle]


class Node(NamedTuple):
    """A state of one machine. What it sent belongs to it, so that what the attacker knows follows from the states."""

    machine: Any
    marks: frozenset[Mark]
    drawn: frozenset[str]
    sent: frozenset[Term]


class Step(NamedTuple):
    """A move was accepted: the state it led to, and what was sent."""

    to: int
    sent: tuple[Term, ...]


class ChangedByRefusal(AssertionError):
    """A machine refused a message and was another one afterwards."""


class Steps(ABC):
    """One machine: its states, by number, and its steps. State 0 is where it starts."""

    #: The machine that is being given a message, for what stands in the place of a part of it.
    current: Any = None

    def __init__(self, name: str, machine: Any, chance: Chance, drawn: frozenset[str] = frozenset()) -> None:
        self.name, self._chance = name, chance
        self.nodes: list[Node] = []
        self._known: dict[Hashable, int] = {}
        self._states: list[Hashable] = []
        self.steps: dict[tuple[int, Move], Step | None] = {}
        self._number(Node(machine, frozenset(self.holds(machine)), drawn, frozenset()))

    # ---- what each kind of machine says ----------------------------------------------------------------------

    @abstractmethod
    def give(self, machine: Any, move: Move) -> tuple[list[bytes], set[Mark]]:
        """The move, done to the machine: what it sends, and what happened. Raises VecError."""

    def draws(self, move: Move) -> tuple[str, str]:
        """What kind of random value the move draws, and what it is named after."""
        return "", ""

    def drawing(self, move: Move) -> tuple[str, str]:
        """`draws`, also for a message that is not well formed and will be refused."""
        try:
            return self.draws(move)
        except (IndexError, VecError):
            return "", ""

    def holds(self, machine: Any) -> set[Mark]:
        """What is true of the machine as long as it is."""
        return set()

    def closed(self, machine: Any) -> bool:
        """The machine refused for good, as it may."""
        return False

    # ---- steps -----------------------------------------------------------------------------------------------

    def drawn(self, number: int, of: str) -> int:
        """How many random values of a kind were drawn up to this state."""
        return sum(text.startswith(of) for text in self.nodes[number].drawn)

    def _number(self, node: Node) -> int:
        key = state(node.machine), *node[1:]
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.nodes)
            self.nodes.append(node)
            self._states.append(key[0])
        return found

    def step(self, number: int, move: Move) -> Step | None:
        """What the move does in this state; None: it is refused."""
        at = number, move
        if at not in self.steps:
            self.steps[at] = self._step(number, move)
        return self.steps[at]

    def _step(self, number: int, move: Move) -> Step | None:
        node = self.nodes[number]
        machine = Steps.current = fork(node.machine)
        self._chance.begin(*self.drawing(move), node.drawn)
        try:
            sent, marks = self.give(machine, move)
        except VecError as refusal:
            if state(machine) == self._states[number]:
                return None
            if not self.closed(machine):
                raise ChangedByRefusal(f"{self.name} refused {move[0]} ({refusal}) and was changed") from None
            sent, marks = [], set()
        lasting = node.marks - self.holds(node.machine) | marks
        terms = tuple(map(term_of, sent))
        marks = frozenset(lasting | self.holds(machine))
        return Step(self._number(Node(machine, marks, self._chance.drawn, node.sent.union(terms))), terms)


class UserSteps(Steps):
    """One run of a user, which loads its key, if it has one to load, as soon as the card is verified."""

    def __init__(self, name: str, run: UserRun, secret: bytes, record: KeyRecord | None, chance: Chance) -> None:
        self.secret, self._record = secret, record
        super().__init__(name, run, chance)

    def draws(self, move: Move) -> tuple[str, str]:
        return "ck", self.name

    def give(self, machine: UserRun, move: Move) -> tuple[list[bytes], set[Mark]]:
        event, message = move
        if event == "ask":
            asked = machine.attach(message, TICK)
            what = machine._me.id, machine.id_c, machine.sid, message, asked.tag
            return [asked.message], {("asked", self.name, *map(term_of, what))}
        if event == 6:
            machine.accept_verification(message, NOW, TICK)
            if self._record is None:
                return [], set()
            message7 = machine.load(bytes(bytearray(self.secret)), self._record, TICK)
            return [message7], {("sent", *self._what(machine), self._record.alg, self._record.usage)}
        number = machine.accept_loaded(message, NOW, TICK)
        return [], {("done", *self._what(machine), number)}

    def _what(self, machine: UserRun) -> Mark:
        ids = machine._me.id, machine.id_c, self.secret, machine.sid
        return (self.name, *map(term_of, ids))

    def closed(self, machine: UserRun) -> bool:
        return machine.state == "closed: the authority says keybad"


class CardSteps(Steps):
    """A card; `owners` are the instances that are connected to it, and their users."""

    owners: Mapping[bytes, bytes] = {}

    def draws(self, move: Move) -> tuple[str, str]:
        event, message = move
        if event == 1:
            return "n_c", repr(term_of(message).parts[0].parts[0])
        return "handle", repr(term_of(message).parts[0])

    def give(self, machine: CardParty, move: Move) -> tuple[list[bytes], set[Mark]]:
        event, message = move
        if event == 1:
            return [machine.verify_open(message, TICK)], set()
        if event == 5:
            machine.verify_accept(message, NOW, TICK)
            return [], set()
        if event == "attach":
            a = machine.attach(message, self.owners, TICK)
            what = a.id_u, machine.identity.id, a.sid, a.instance, a.tag
            return [], {("attached", self.name, *map(term_of, what))}
        if event == 7:
            return [machine.key_load(message, TICK)[1]], set()
        key = machine.key_accept(message, NOW, TICK)
        if key is None:
            return [], set()
        what = machine.identity.id, key.id_u, machine._vault.secrets[key.handle], key.sid
        return [], {("active", self.name, *map(term_of, what), key.number, key.alg, key.usage, key.handle)}

    def holds(self, machine: CardParty) -> set[Mark]:
        secrets = machine._vault.secrets
        staged = {
            (session.verification().id_u, secrets[session.staged.handle], sid)
            for sid, session in machine._sessions.items()
            if session.staged is not None
        }
        active = {(key.id_u, secrets[key.handle], key.sid) for key in machine.slots.values()}
        me = term_of(machine.identity.id)
        return {("holds", self.name, me, *map(term_of, what)) for what in staged | active}


class EnrolmentSteps(Steps):
    """A party that registers."""

    def give(self, machine: Enrolment, move: Move) -> tuple[list[bytes], set[Mark]]:
        me = machine.accept(move[1], NOW, TICK)
        what = me.role.encode(), me.id, me.keys.seal_key, me.keys.sign_key
        return [], {("enrolled", self.name, *map(term_of, what))}


class AuthoritySteps(Steps):
    """The authority: messages 3 and 9, further keys, registration. `insider` is the user for whom keys are added."""

    insider = b""

    def holds(self, machine: Authority) -> set[Mark]:
        tables = machine._register.tables
        certified = {
            ("certified", self.name, *map(term_of, (row.role.encode(), id_x, row.pkE, row.pkS)))
            for id_x, row in tables["certificates"].items()
        }
        rows = ((id_u, row) for id_u, rows in tables["keys"].items() for row in rows)
        keys = {("registered", self.name, term_of(id_u), term_of(row.kcv)) for id_u, row in rows}
        return certified | keys

    def step(self, number: int, move: Move) -> Step | None:
        """As for all; ("key, 9", ..) is a registration of E and then message 9, if both are accepted."""
        if move[0] != "key, 9":
            return super().step(number, move)
        _, message, sid, message9 = move
        first = super().step(number, ("key", self.insider, message))
        second = first and super().step(first.to, (9, sid, message9))
        return second and Step(second.to, first.sent + second.sent)

    def draws(self, move: Move) -> tuple[str, str]:
        event, *fields = move
        if event == 3:
            # Named after the two nonces that it answers.
            sealed = term_of(unpack(Message3, fields[0], "message 3").blob).parts[1]
            at = [Sealed3._fields.index(name) for name in ("m1", "m2")]
            return "sid", ", ".join(repr(sealed.parts[n].parts[2]) for n in at)
        if event == 9:
            return "N_K", repr(term_of(fields[0]))
        return "serial", repr(term_of(fields[-1]))

    def give(self, machine: Any, move: Move) -> tuple[list[bytes], set[Mark]]:
        event, *fields = move
        if event in (3, 9):
            both = machine.verify(*fields, NOW) if event == 3 else machine.loaded(*fields, NOW)
            return [both.to_card, both.to_user], set()
        if event == "key":
            return [machine.key(*fields, NOW).body], set()
        return [machine.register(*fields, NOW).body], set()
