"""
Breadth first through everything that an attacker can do with runs of a protocol: the first that is wrong is nearest.

A run of a role is where it stands and what it knows. It makes every step by itself but `take`; the attacker chooses
what is taken, of all that it can make, and learns all that is sent. What the attacker knows follows from the runs, so a
state is their states alone. Scopes are exact: the runs that are given, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.model.attacker.knowledge import Knowledge
from tests.model.attacker.terms import Term, hashed, literal, name, public
from tests.model.literal_protocol.tables import Protocol
from tests.model.literal_protocol.templates import (
    Env,
    made,
    offered,
    parsed,
    party,
    sealing,
    shown,
    signing,
    sort,
    token,
)  # fmt: skip


class Run(NamedTuple):
    """One run of a role: of whom it is, and what it knows to begin with."""

    role: str
    who: str
    env: tuple[tuple[str, Term], ...]


class Scope(NamedTuple):
    """Who takes part. `registered` is party -> (role, names of its keys); `bad` have told the attacker everything."""

    runs: tuple[Run, ...]
    registered: dict[str, tuple[str, tuple[str, ...]]]
    bad: str = ""
    seen: tuple[Term, ...] = ()
    # What the fresh values of this scope have in their names, so that they are not those of another.
    salt: str = ""


def user(who: str, card: str, key: str) -> Run:
    """A user that wants to load a key into a card."""
    return Run("user", who, (("u", party(who)), ("v", party(who)), ("c", party(card)), ("K", name(key))))


def card(who: str) -> Run:
    return Run("card", who, (("c", party(who)), ("P", public(sealing(who)))))


AUTHORITY = Run("authority", "CA", ())


class At(NamedTuple):
    """Where a run stands: how many steps it has made, and what it knows."""

    made: int
    env: tuple[tuple[str, Term], ...]

    def __getitem__(self, what):
        return dict(self.env)[what] if isinstance(what, str) else tuple.__getitem__(self, what)

    def knows(self, what: str) -> bool:
        return any(known == what for known, _ in self.env)


class Step(NamedTuple):
    """A message that the attacker had somebody take, and what was sent then."""

    run: int
    message: str
    term: Term
    sent: tuple[Term, ...]


class World:
    """A protocol in a scope."""

    def __init__(self, protocol: Protocol, scope: Scope) -> None:
        self.protocol, self.scope = protocol, scope
        self.parties = tuple(sorted(scope.registered))
        self.messages = {number: parsed(template) for number, template in protocol.messages.items()}
        self.start: list[At] = []
        sent: list[Term] = []
        for which, run in enumerate(scope.runs):
            at, said = self._on(which, At(0, run.env))
            self.start.append(at)
            sent += said
        self.knowledge = Knowledge((*self._known(), *sent))

    def _known(self) -> Iterable[Term]:
        yield public(sealing("CA"))
        yield public(signing("CA"))
        for who in self.parties:
            yield from (party(who), public(sealing(who)), public(signing(who)))
        for who in self.scope.bad:
            yield from (sealing(who), signing(who), token(who))
            yield from map(name, self.scope.registered[who][1])
        if self.scope.bad:
            # A nonce of its own; anything else that it could draw is one of these.
            yield name("nX")
        yield from self.scope.seen

    def steps(self, which: int) -> tuple[str, ...]:
        return self.protocol.roles[self.scope.runs[which].role]

    def _on(self, which: int, at: At) -> tuple[At, list[Term]] | tuple[None, None]:
        """The run after every step that needs nobody, up to the next `take`. (None, None): a check failed."""
        steps, count, env, sent = self.steps(which), at.made, dict(at.env), []
        while count < len(steps):
            what, *about = steps[count].split(" ", 1)
            if what == "take":
                break
            if what == "send":
                sent.append(made(self.messages[about[0]], env))
            elif what == "let":
                left, right = about[0].split(" = ")
                env[left] = made(parsed(right), env)
            elif what == "new":
                env[about[0]] = self._fresh(about[0], which)
            elif not self._holds(about[0].split(), env):
                return None, None
            count += 1
        return At(count, tuple(sorted(env.items(), key=lambda item: item[0]))), sent

    def _fresh(self, variable: str, which: int) -> Term:
        """A value that was never there: times are known to everybody, the rest is not."""
        text = f"{variable}{which + 1}{self.scope.salt}"
        return literal(text) if sort(variable) == "T" else name(text)

    def _holds(self, about: list[str], env: Env) -> bool:
        what, who = about[0], env[about[1]].parts[0]
        role, keys = self.scope.registered.get(who, ("", ()))
        if what == "registered":
            return bool(role)
        if what == "role":
            return role == about[2]
        assert what == "key", f"no check: {about}"
        return any(name(key) is env[about[2]] for key in keys)

    def taking(self, which: int, at: At) -> str:
        """The number of the message that the run waits for; "" when it is done."""
        steps = self.steps(which)
        return steps[at.made].removeprefix("take ") if at.made < len(steps) else ""

    def done(self, which: int, at: At) -> bool:
        return at.made == len(self.steps(which))

    def moves(self, state: tuple[At, ...], knowledge: Knowledge) -> Iterable[tuple[tuple[At, ...], Step]]:
        """Every message that the attacker can have somebody take."""
        for which, at in enumerate(state):
            number = self.taking(which, at)
            if not number or (
                which and state[which - 1] == at and self.scope.runs[which - 1] == self.scope.runs[which]
            ):
                # Of runs that are equal and stand at the same place the first goes first.
                continue
            template, before = self.messages[number], dict(at.env)
            seen = set()
            for env in offered(template, before, knowledge, self.parties):
                found = tuple(sorted(env.items(), key=lambda item: item[0]))
                if found in seen:
                    continue
                seen.add(found)
                after, sent = self._on(which, At(at.made + 1, found))
                if after is not None:
                    told = Step(which, number, made(template, env), tuple(sent))
                    yield (*state[:which], after, *state[which + 1 :]), told


class Found(NamedTuple):
    """The steps to the nearest wrong state (None: there is none in the scope), how many states were seen, and it."""

    trace: tuple[Step, ...] | None
    states: int
    end: tuple[At, ...] | None
    knowledge: Knowledge | None


Claim = Callable[[World, tuple[At, ...], Knowledge], bool]
"""What must never be: true of a wrong state."""


def explore(world: World, wrong: Claim, *, most: int = 400_000) -> Found:
    """The nearest state that is wrong, or none in the whole scope."""
    start = tuple(world.start)
    came: dict[tuple, tuple | None] = {start: None}
    layer = [(start, world.knowledge)]

    def found(state: tuple[At, ...], knowledge: Knowledge) -> Found:
        trace, at = [], state
        while came[at] is not None:
            at, step = came[at]
            trace.append(step)
        return Found(tuple(reversed(trace)), len(came), state, knowledge)

    if wrong(world, start, world.knowledge):
        return found(start, world.knowledge)
    while layer:
        following = []
        for state, knowledge in layer:
            for after, step in world.moves(state, knowledge):
                if after in came:
                    continue
                came[after] = (state, step)
                grown = knowledge.learn(*step.sent)
                if wrong(world, after, grown):
                    return found(after, grown)
                following.append((after, grown))
                assert len(came) < most, f"more than {most} states"
        layer = following
    return Found(None, len(came), None, None)


def told(world: World, trace: tuple[Step, ...]) -> str:
    """The steps as on paper: who takes which message."""
    many = {run for run in world.scope.runs if world.scope.runs.count(run) > 1}
    lines = []
    for step in trace:
        run = world.scope.runs[step.run]
        which = f"'s run {world.scope.runs[: step.run + 1].count(run)}" if run in many else ""
        lines.append(f"{run.who}{which} takes {step.message}: {shown(step.term)}")
    return "; ".join(lines)


def registered_key(key: str) -> Term:
    """What registration shows of a key in clear: its hash."""
    return hashed(name(key))
