"""
The reference monitor as the guard runs it: one state, one request after the other.

`ask` decides and applies in one step; the changes of its decision are the journal of exactly the cells that the
guard has to publish in shared memory. Two kinds of facts live elsewhere (docs/shm.md, "Who has what"):
r, w, a of the slot owner, status and slot owner in the card word, and what the engine, the output buffer and
the key slots hold in the card process. `sources` says which cards a request depends on, `observe_card` takes
what was found there into the state, and refuses what no rule could have made.

It has no clock, no file and no lock: who has several threads brings the lock.
"""

from collections.abc import Iterable
from typing import Any

from vecd.base.errors import Denied, Integrity
from vecd.ppm.levels import USING, Level, Levels
from vecd.ppm.request import Request
from vecd.ppm.rules import Decision, decide
from vecd.ppm.state import (
    CARD,
    CONTROL,
    FREE,
    GIVABLE,
    IN_USE,
    INSTANCE,
    WORKING,
    C,
    Change,
    Key,
    R,
    State,
    W,
    letters,
)
from vecd.ppm.words import text


class _Keep:
    """Stands for "not looked at" in `observe_card`, where None means "nobody"."""

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Any = _Keep()


class Monitor:
    """The stateful monitor. Reading `state` is free; only the methods here write it."""

    def __init__(self, levels: int = 4) -> None:
        self.state = State(Levels(levels))
        # Who left a card that was not seen clean since, both ways: k -> instances, i -> cards.
        self._leftover: dict[Key, set[Key]] = {}
        self._left: dict[Key, set[Key]] = {}

    # ---- the world

    def name(
        self,
        key: Key,
        kind: str,
        owner: Key | None = None,
        may: Iterable[Level] | None = None,
        words: str | None = None,
    ) -> None:
        """`key` may come to exist (R7) from now on. Raises ValueError where the model has no such entity."""
        self.state.name(key, kind, owner, may, words)

    def forget(self, key: Key) -> None:
        """`key` is free for another entity. Raises ValueError while it is live, or a user who owns a named instance."""
        self.state.forget(key)

    # ---- asking

    def check(self, request: Request) -> Decision:
        """The decision now; nothing changes."""
        return decide(self.state, request)

    def ask(self, request: Request) -> Decision:
        """The decision, and on a yes its changes are in the state."""
        decision = decide(self.state, request)
        if decision.changes:
            self.state.apply(decision.changes)
            self._remember(decision)
        return decision

    def require(self, request: Request) -> Decision:
        """As `ask`, where a refusal must not be ignored: raises Denied with rule, property, reason and next step."""
        decision = self.ask(request)
        if not decision:
            raise denied(self.state, decision)
        return decision

    def undo(self, decision: Decision) -> None:
        """The state before this decision: only for the last one, when what it changes could not be published."""
        self.state.undo(decision.changes)

    def _remember(self, decision: Decision) -> None:
        cards = self.state.mapped
        for table, subject, object, old, new in decision.changes:
            if table == "b" and object in cards and subject is not None and old & C and not new & C:
                self._leftover.setdefault(object, set()).add(subject)
                self._left.setdefault(subject, set()).add(object)
            elif table == "live" and old:
                self._end(object)

    def _end(self, key: Key) -> None:
        for card in self._left.pop(key, ()):
            self._leftover[card].discard(key)
        for instance in self._leftover.pop(key, ()):
            self._left[instance].discard(key)

    # ---- facts that live in the cards

    def sources(self, request: Request) -> tuple[Key, ...]:
        """The cards whose word and residue the decision on `request` depends on: observe them first."""
        state = self.state
        if request.object not in state.live:
            return ()
        kind = state.kind(request.object)
        if kind == CARD:
            return () if request.rule in _WITHOUT_CARD else (request.object,)
        if kind != INSTANCE:
            return ()
        if request.rule == "R8":
            cards = self._left.get(request.object, set()) | state.connected[request.object]
        elif request.rule in ("R6", "R10") and request.attribute == "c":
            cards = state.connected[request.object]
        elif request.rule == "R11":
            cards = state.connected[request.object]
        else:
            return ()
        return tuple(sorted(cards & state.live, key=str))

    def observe_card(
        self,
        card: Key,
        *,
        status: str = KEEP,
        current: Key | None = KEEP,
        held: int = KEEP,
        context: Key | None = KEEP,
        output: Key | None = KEEP,
        keys: Iterable[Key] = KEEP,
    ) -> tuple[Change, ...]:
        """
        What was seen in the card word (status, current, held: the byte of the slot owner) and in the card process
        (context, output, keys) is in the state; what was not looked at stays. Returns the cells that changed.

        A card that nobody is connected to and that is clean is free from here on: the word says control until
        the guard settles it, so a change of status to free in the answer asks the guard to do that. Raises
        Integrity, with nothing changed, when no rule allows what was seen.
        """
        state = self.state
        if card not in state.live or state.kind(card) != CARD:
            raise Integrity(
                f"{state.words(card)} is no live card, so nothing can be seen there", hint="vecctl card list"
            )
        before = state.current.get(card)
        seen = _Seen(
            status=state.status_of(card) if status is KEEP else status,
            current=before if current is KEEP else current,
            context=state.context.get(card) if context is KEEP else context,
            output=state.output.get(card) if output is KEEP else output,
            keys=None if keys is KEEP else frozenset(keys),
        )
        if held is not KEEP:
            seen.held = held
        elif seen.current is not None and seen.current == before:
            seen.held = state.holds(seen.current, card)
        elif seen.current is not None:
            seen.held = C
        wrong = _impossible(state, card, seen)
        if wrong:
            raise Integrity(
                f"{state.words(card)} shows what no rule allows: {wrong}",
                object=state.words(card),
                hint="the card is to be taken out of service: vecctl card list",
            )
        changes = tuple(_observed(state, card, seen))
        state.apply(changes)
        if seen.keys is not None:
            for instance in self._leftover.get(card, set()) - seen.keys - {seen.context, seen.output}:
                self._leftover[card].discard(instance)
                self._left[instance].discard(card)
        return changes


def denied(state: State, decision: Decision) -> Denied:
    """A refusal as the error that travels: whatever fails while deciding is a Denied."""
    request = decision.request
    return Denied(
        decision.reason,
        rule=decision.rule,
        reason=decision.reason,
        hint=decision.next,
        subject=state.words(request.subject),
        object=state.words(request.object),
        property=decision.property,
        reads="; ".join(text(cell) for cell in dict.fromkeys(decision.reads)),
        needs=text(decision.cause) if decision.cause else "",
    )


_WITHOUT_CARD = frozenset(("R5", "R7", "R9"))


class _Seen:
    """What is in a card, as far as it was looked at: keys None means not looked at."""

    __slots__ = ("context", "current", "held", "keys", "output", "status")

    def __init__(
        self, status: str, current: Key | None, context: Key | None, output: Key | None, keys: frozenset[Key] | None
    ) -> None:
        self.status, self.current, self.held = status, current, 0
        self.context, self.output, self.keys = context, output, keys


def _impossible(state: State, k: Key, seen: _Seen) -> str:
    """Why no rule allows this: the properties 2, 3 and 7 to 9 for one card, without a walk over its column."""
    mapped = state.mapped[k]
    if seen.status not in (FREE, CONTROL, IN_USE):
        return f"status {seen.status!r}"
    if type(seen.held) is not int or seen.held & ~GIVABLE:
        return f"attributes {seen.held!r}"
    if seen.current is None and seen.held:
        return f"{letters(seen.held)} held by nobody"
    if seen.current is not None:
        if seen.current not in mapped:
            return f"a slot owner {state.words(seen.current)} that is not connected"
        if not seen.held & C:
            return f"a slot owner {state.words(seen.current)} without c"
        if seen.held & ~state.may(seen.current, k):
            return (
                f"{state.words(seen.current)} holds {letters(seen.held)}, and M allows "
                f"{letters(state.may(seen.current, k)) or 'nothing'}"
            )
        if seen.status == IN_USE and seen.held & (R | W):
            return f"{state.words(seen.current)} holds {letters(seen.held)} in using"
    for what, whose in (("engine", seen.context), ("output buffer", seen.output)):
        if whose is None:
            continue
        if whose not in state.live or state.kind(whose) != INSTANCE:
            return f"{state.words(whose)} in the {what}, which is no live instance"
        if seen.current is not None and whose != seen.current:
            return f"data of {state.words(whose)} in the {what}, in the slot of {state.words(seen.current)}"
    if seen.context is not None and seen.status != IN_USE:
        return f"private data of {state.words(seen.context)} while it is {seen.status}"
    if seen.context is not None and seen.output not in (None, seen.context):
        return f"data of {state.words(seen.context)} and of {state.words(seen.output)}"
    if seen.keys is not None and not seen.keys <= mapped:
        return f"a key slot of {state.words(min(seen.keys - mapped, key=str))}, which is not connected"
    if seen.status == FREE and (mapped or seen.current is not None or seen.output is not None):
        return "free, and somebody is on it"
    return ""


def _observed(state: State, k: Key, seen: _Seen) -> Iterable[Change]:
    """The changes from the state to what was seen, settled."""
    status, current = seen.status, seen.current
    if not state.mapped[k] and seen.context is None and seen.output is None:
        status = FREE
    for i in sorted(state.armed[k], key=str):
        if i != current:
            held = state.holds(i, k)
            yield Change("b", i, k, held, held & ~WORKING)
    if current is not None and state.holds(current, k) != seen.held:
        yield Change("b", current, k, state.holds(current, k), seen.held)
    if status == IN_USE:
        level = USING
    elif status == FREE:
        level = state.levels.free
    elif current is not None:
        level = state.level[current]
    elif state.level[k] in state.levels.instance:
        level = state.level[k]
    else:
        level = state.levels.lowest_instance
    for table, old, new in (
        ("status", state.status_of(k), status),
        ("level", state.level[k], level),
        ("current", state.current.get(k), current),
        ("context", state.context.get(k), seen.context),
        ("output", state.output.get(k), seen.output),
    ):
        if old != new:
            yield Change(table, None, k, old, new)
    if seen.keys is not None:
        for i in sorted(seen.keys ^ state.keys[k], key=str):
            yield Change("key", i, k, i in state.keys[k], i in seen.keys)
