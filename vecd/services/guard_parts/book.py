"""The guard's book: the state (b, M, f, H), the register it is stored in, and the matrices that others read.

Every change is a `with book.change():` block, or one request in a batch (`soon`, `propose`). The rules decide each
request at once; what was decided is then on the disk, then published in one bracket of the seqlock, then answered. A
refusal, or a disk that does not take it, takes the block back, or what has to be taken back of the batch. A block
awaits nothing, so nobody in this process sees half of one. A batch does while it is written; who cannot wait (`change`,
and whoever looks before it acts) calls `commit` first.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vecd.base import events, log
from vecd.base.errors import ConfigError, Denied, Exhausted, Failed, Internal, VecError
from vecd.base.peer import our_mistake
from vecd.ppm import request as requests
from vecd.ppm.monitor import Monitor, denied
from vecd.ppm.request import Request
from vecd.ppm.rules import Decision
from vecd.ppm.state import CARD, GIVABLE, INSTANCE, MANAGER, USER, C, Change, Key, State, byte_of, letters
from vecd.services.guard_parts import entries
from vecd.services.guard_parts.directory import Directory
from vecd.services.guard_parts.entries import Card, Instance, Register, User
from vecd.services.guard_parts.journal import Operation, Position
from vecd.services.guard_parts.publish import Publication
from vecd.services.guard_parts.record import Record, Silent, on_behalf
from vecd.services.guard_parts.store import Store
from vecd.shm.writer import Matrices

# Runs something in the guard's loop.
Again = Callable[[Callable[[], None]], object]
# Of a request in a batch: the decision that holds, or the refusal; and what the disk did not take of it.
Done = Callable[[Decision | VecError, str], None]


@dataclass(slots=True)
class _Asked:
    """One request of a batch."""

    request: Request
    outcome: Decision | VecError
    must_store: bool
    done: Done
    warning: str = ""


class Book(Directory):
    """State, register and matrices, always of one mind."""

    def __init__(self, path: Path, register: Register, matrices: Matrices, position: Position = Position()) -> None:
        super().__init__(register)
        self.path = path
        self.matrices = matrices
        self.monitor = Monitor(register.levels)
        # Where every decision goes on record; a process puts its own here.
        self.record: Record = Silent()
        self.store = Store(path, register.epoch, position, self._freeze)
        self._journal: list[Decision] | None = None
        # Of the block that is open: what the disk has to know, and how to take it back.
        self._operations: list[Operation] = []
        self._backwards: list[Callable[[], None]] = []
        # What has not been decided, what has and is not answered, and the write that it waits for.
        self._queue: list[Callable[[], None]] = []
        self._batch: list[_Asked] = []
        self._writing: Future[None] | None = None
        self._disk = ThreadPoolExecutor(1, "vecd-disk")
        # Called when M lets others connect to a card than before, or with another weight.
        self.shared: Callable[[str], None] = lambda card: None
        self.published = Publication(matrices, self.monitor.state, self.entity)
        self._rebuild()

    @property
    def state(self) -> State:
        """To read; only what is asked inside `change` writes it."""
        return self.monitor.state

    # ---- looking things up

    def connected(self, card: str) -> list[Instance]:
        """map(k): the instances that hold c on the card, by index."""
        found = [self.register.instances[str(i)] for i in self.state.mapped.get(card, ())]
        return sorted(found, key=lambda one: one.index)

    def cards_of(self, instance: str) -> list[Card]:
        """The cards on which the instance holds c, by index: the order in which they are locked."""
        return sorted((self.card(str(k)) for k in self.state.connected.get(instance, ())), key=lambda one: one.index)

    # ---- deciding

    @contextmanager
    def change(self, *, must_store: bool = True) -> Iterator[list[str]]:
        """
        What is asked inside holds afterwards, in the state, on the disk and in the matrices; after an exception, none.

        With must_store=False what cannot be written to the disk holds nevertheless, and the list that was yielded
        then has a sentence that says so: taking a right away may not fail for a full disk.
        """
        if self._journal is not None:
            raise Internal("a change inside a change")
        self.commit()
        warnings = list[str]()
        journal = self._journal = []
        try:
            yield warnings
            operations = [*self._operations, *self._cells(journal)]
            if warning := self._store(operations, must_store):
                warnings.append(warning)
        except BaseException as error:
            self.record.undone(journal, str(error))
            for decision in reversed(journal):
                self.monitor.undo(decision)
            for back in reversed(self._backwards):
                back()
            raise
        finally:
            self._journal = None
            self._operations.clear()
            self._backwards.clear()
        self._publish(journal)

    def ask(self, request: Request) -> Decision:
        """The yes to this request, applied; raises Denied for everything else. Inside `change`."""
        if self._journal is None:
            raise Internal("a request outside a change")
        decision = self._decide(request)
        if not decision:
            raise denied(self.state, decision)
        self._journal.append(decision)
        return decision

    def _decide(self, request: Request) -> Decision:
        """The decision, in the state and in the log. Everything that this guard decides comes by here."""
        self.record.require(request)
        decision = self.monitor.ask(request)
        self.record.decision(decision)
        if decision and not log.debugging():
            return decision
        log.event(
            events.DECIDED if decision else events.DECISION,
            decision=decision.answer,
            rule=request.rule,
            subject=request.to if request.to is not None else request.subject,
            object=request.object,
            attribute=request.attribute or "",
            property=decision.property or None,
            reason=decision.reason,
        )
        return decision

    # ---- many at once

    def soon(self, begin: Callable[[], None], again: Again) -> None:
        """
        `begin` is called before long, with others that came meanwhile, and may `propose`. While a batch is on its way
        to the disk the next one gathers; nothing of it is decided before that one holds.

        again: runs what it is given in the guard's loop, from whatever thread.
        """
        self._queue.append(on_behalf(begin))
        if len(self._queue) == 1 and self._writing is None:
            again(lambda: self._turn(again))

    def propose(self, request: Request, done: Done, *, must_store: bool = True) -> None:
        """The request is decided now; `done` is called when the decision holds as after `change`. Inside `begin`."""
        outcome: Decision | VecError
        try:
            decision = self._decide(request)
            outcome = decision if decision else denied(self.state, decision)
        except Exhausted as error:
            # What cannot be recorded is not decided.
            outcome = error
        self._batch.append(_Asked(request, outcome, must_store, done))

    def _turn(self, again: Again) -> None:
        """What gathered is decided, and is on its way to the disk."""
        if self._writing is not None or not self._queue:
            return
        operations = self._decide_queue()
        if self.store.behind or not operations:
            self._written(self._stored_now(operations))
            return
        batch = self._batch
        self._writing = self._disk.submit(self.store.commit, operations)

        def written() -> None:
            # Unless somebody could not wait for it, and had it committed.
            if self._batch is batch and self._writing is not None:
                self.commit_written()
                self._turn(again)

        self._writing.add_done_callback(lambda _: again(written))

    def commit(self) -> None:
        """Everything that was asked holds and is answered, or is refused."""
        while self._writing is not None or self._queue:
            self.commit_written()
            if self._queue:
                self._written(self._stored_now(self._decide_queue()))

    def commit_written(self) -> None:
        """The batch that is on its way to the disk holds and is answered, or is refused."""
        if self._writing is None:
            return
        error = self._writing.exception()
        self._writing = None
        if error is not None and not isinstance(error, Failed):
            error = Failed(f"{self.path} cannot be written", reason=type(error).__name__)
        self._written(error)

    def _decide_queue(self) -> list[Operation]:
        """Everything in the queue is decided, in the order in which it came; what the disk has to know of it."""
        queue, self._queue = self._queue, []
        for begin in queue:
            try:
                begin()
            except Exception as error:
                our_mistake("the begin of a change", error)
        return self._cells(one.outcome for one in self._batch if isinstance(one.outcome, Decision))

    def _stored_now(self, operations: list[Operation]) -> Failed | None:
        try:
            self._store(operations, True)
        except Failed as error:
            return error
        return None

    def _written(self, error: Failed | None) -> None:
        """The batch is published and answered; where the disk did not take it, what can be taken back is."""
        batch, self._batch = self._batch, []
        decided = [one.outcome for one in batch if isinstance(one.outcome, Decision)]
        if error is not None:
            decided = self._without_disk(batch, decided, error)
        self._publish(decided)
        for one in batch:
            try:
                one.done(one.outcome, one.warning)
            except Exception as mistake:
                our_mistake("the end of a change", mistake)

    def _without_disk(self, batch: list[_Asked], decided: list[Decision], error: Failed) -> list[Decision]:
        """What only takes away holds nevertheless, decided once more without the rest; the decisions that hold."""
        self.record.undone(decided, str(error))
        for decision in reversed(decided):
            self.monitor.undo(decision)
        holds = []
        for one in batch:
            if not isinstance(one.outcome, Decision):
                continue
            if one.must_store:
                one.outcome = error
                continue
            again = self.monitor.ask(one.request)
            self.record.decision(again)
            one.outcome = again if again else denied(self.state, again)
            one.warning = _warning(error) if again.changes else ""
            if again:
                holds.append(again)
        self.store.behind = self.store.behind or bool(self._cells(holds))
        return holds

    # ---- entities

    def create_user(self, user: User) -> None:
        """R7, then R5: the user is live, and the manager may instruct it."""
        self._named(user, USER)

    def create_instance(self, instance: Instance) -> None:
        """R7, then R5, with its owner fixed for its life."""
        before = self.register.next_instance
        self._backwards.append(lambda: setattr(self.register, "next_instance", before))
        self._named(instance, INSTANCE, instance.owner)
        self.register.next_instance = (instance.index + 1) % entries.INSTANCES_MAX

    def create_card(self, card: Card) -> None:
        """R7, then R5: the card is free and clean."""
        self._named(card, CARD)

    def destroy(self, name: str) -> None:
        """R8: it is gone, with its row and column; its name may be used again."""
        self.ask(requests.destroy(name))
        one = self.entity(name)
        self.remove(one)
        self._backwards.append(lambda: self.add(one))
        self._operations.append(("end", name))

    def quarantine(self, card: str, why: str) -> str:
        """The card does not come back by itself, also not to the next guard; "" lets it. What the disk did not take."""
        self.commit()
        self.register.apply(("quarantine", card, why))
        return self._store([("quarantine", card, why)], False)

    def move(self, name: str, level: int) -> None:
        """R11 of an instance: it is at this level."""
        self.ask(requests.move(MANAGER, name, level))
        before = self.register.instances[name]
        self.add(replace(before, level=level))
        self._backwards.append(lambda: self.add(before))
        self._operations.append(("level", name, level))

    def adopt(self, version: str) -> None:
        """The policy of this version is the one that was applied last."""
        before = self.register.policy
        self._backwards.append(lambda: self.register.apply(("policy", before)))
        self._operations.append(("policy", version))
        self.register.apply(("policy", version))

    def _named(self, one: User | Instance | Card, kind: str, owner: str | None = None) -> None:
        self.monitor.name(one.name, kind, owner, _may(one))
        self._backwards.append(lambda: self.monitor.forget(one.name))
        self.add(one)
        self._backwards.append(lambda: self.remove(one))
        self._operations.append(entries.created(one))
        self.ask(_created(one))
        self.ask(requests.instruct(one.name))

    # ---- what is stored and published

    def _rebuild(self) -> None:
        """The state of the register: everything live, M as stored, b empty but for the manager's e*."""
        # These were decided and logged when they were new; here they only have to be possible still.
        monitor, register = self.monitor, self.register
        try:
            for kind, table in ((USER, register.users), (INSTANCE, register.instances), (CARD, register.cards)):
                for one in table.values():
                    monitor.name(one.name, kind, one.owner if isinstance(one, Instance) else None, _may(one))
                    monitor.require(_created(one))
                    monitor.require(requests.instruct(one.name))
            # R9 says yes to every attribute of a cell or to none, and to any instance on any card: what it says to the
            # first attribute of a user on its instance, or of an instance on its first card, holds for the others.
            asked: set[str] = set()
            for (subject, target), attributes in register.access.items():
                if subject not in asked or target not in register.cards:
                    monitor.require(requests.give(subject, target, attributes[0]))
                    asked.add(subject)
                self.state.apply((Change("M", subject, target, 0, byte_of(attributes)),))
        except (Denied, ValueError) as error:
            raise ConfigError(f"{self.path}: {error}", reason="the rules refuse the stored policy") from None
        # From here on M is the state's.
        register.access = {}
        self.index()
        self.published.whole()

    def _freeze(self) -> Callable[[], Register]:
        """What is stored, as it stands now; the register is made of it by calling what is returned, in any thread."""
        register = self.register
        kept = replace(
            register,
            users=dict(register.users),
            instances=dict(register.instances),
            cards=dict(register.cards),
            quarantine=dict(register.quarantine),
        )
        columns = {target: dict(column) for target, column in self.state.M.items()}

        def make() -> Register:
            access = {
                (str(subject), str(target)): letters(byte & GIVABLE)
                for target, column in columns.items()
                for subject, byte in column.items()
                if subject != MANAGER and byte & GIVABLE
            }
            return replace(kept, access=access)

        return make

    def _cells(self, journal: Iterable[Decision]) -> list[Operation]:
        """The cells of M that changed, with what stands in them; those of what ended went with it."""
        live, cells = self.state.live, dict[tuple[Key, Key], None]()
        for decision in journal:
            for change in decision.changes:
                if change.table == "M" and change.subject != MANAGER and change.subject is not None:
                    cells[change.subject, change.object] = None
        return [("M", s, o, letters(self.state.may(s, o))) for s, o in cells if s in live and o in live]

    def _store(self, operations: list[Operation], must_store: bool) -> str:
        """The operations are on the disk; "" or, with must_store=False, what the disk did not take. Raises Failed."""
        try:
            self.store.commit(operations)
        except Failed as error:
            if must_store:
                if not operations:
                    # Nothing of this block: what the disk lacks is older.
                    return ""
                raise
            self.store.behind = True
            return _warning(error)
        return ""

    def started(self, generation: int) -> None:
        """This start's generation is on the disk, above every one before it. Raises Failed."""
        self.register.generation = generation
        try:
            self.store.commit([("started", generation)])
        except Failed:
            self.store.behind = True
            raise

    def _publish(self, journal: list[Decision]) -> None:
        """What was decided is published; a name that ended is free from now on, its row having been cleared."""
        changes = [change for decision in journal for change in decision.changes]
        if not changes:
            return
        self.published.cells(changes)
        for change in changes:
            if change.table == "M" and (change.old ^ change.new) & C and change.object in self.register.cards:
                self.shared(str(change.object))
        ended = {change.object for change in changes if change.table == "live"} - self.state.live
        # Instances first: a user may not be forgotten while one of them names it.
        for key in sorted(ended, key=lambda one: self.state.kind(one) != INSTANCE):
            self.monitor.forget(key)
        self.published.ended(str(key) for key in ended)


def _may(one: User | Instance | Card) -> tuple[int, ...] | None:
    """f_v of what is named; None: what every such thing may take."""
    return None if isinstance(one, Card) else one.may or None


def _created(one: User | Instance | Card) -> Request:
    """R7, at the level at which it comes to exist."""
    return requests.create(one.name, None if isinstance(one, Card) else one.level)


def _warning(error: Failed) -> str:
    return f"it holds now, but not after a restart: {error.message}"
