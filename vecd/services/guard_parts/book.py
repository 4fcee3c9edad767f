"""The guard's book: the state (b, M, f, H), the register it is stored in, and the matrices that others read.

Every change is a `with book.change():` block. The rules decide each request inside it; a refusal, or a register that
cannot be written, takes the whole block back. What was decided is then published in one bracket of the seqlock. No
block awaits anything, so nobody in this process sees half of one.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vecd.base import events, log
from vecd.base.errors import ConfigError, Denied, Failed, Internal, Unknown
from vecd.ppm import request as requests
from vecd.ppm.monitor import Monitor, denied
from vecd.ppm.request import Request
from vecd.ppm.rules import Decision
from vecd.ppm.state import CARD, GIVABLE, INSTANCE, MANAGER, USER, Key, State, letters
from vecd.services.guard_parts import register as stored
from vecd.services.guard_parts.publish import Publication
from vecd.services.guard_parts.register import Card, Instance, Register, User
from vecd.shm.writer import Matrices

LEVELS = 4

_Kind = TypeVar("_Kind", User, Instance, Card)


class Book:
    """State, register and matrices, always of one mind."""

    def __init__(self, path: Path, register: Register, matrices: Matrices) -> None:
        self.path = path
        self.register = register
        self.matrices = matrices
        self.monitor = Monitor(LEVELS)
        self._journal: list[Decision] | None = None
        self._rebuilding = True
        self.published = Publication(matrices, self.monitor.state, self.entity)
        self._rebuild()
        self._rebuilding = False

    @property
    def state(self) -> State:
        """To read; only what is asked inside `change` writes it."""
        return self.monitor.state

    # ---- looking things up

    def entity(self, name: str) -> User | Instance | Card:
        """What has this name; raises Unknown."""
        for table in (self.register.users, self.register.instances, self.register.cards):
            if name in table:
                return table[name]
        raise Unknown(f"there is nothing called {name[:64]!r}", hint="vecctl guest list, vecctl card list")

    def user(self, name: str) -> User:
        """The guest of this name; raises Unknown."""
        found = self.register.users.get(name)
        if found is None:
            raise Unknown(f"there is no guest {name[:64]!r}", hint="vecctl guest list")
        return found

    def card(self, name: str) -> Card:
        """The card of this name; raises Unknown."""
        found = self.register.cards.get(name)
        if found is None:
            raise Unknown(f"no card {name[:64]!r} has registered", hint="vecctl card list")
        return found

    def user_by_id(self, user: bytes) -> User:
        """The guest of this id; raises Unknown."""
        return _by_id(self.register.users, user, "guest")

    def instance_by_id(self, instance: bytes) -> Instance:
        """The instance of this id; raises Unknown."""
        return _by_id(self.register.instances, instance, "instance")

    def card_by_id(self, card: bytes) -> Card:
        """The card of this id; raises Unknown."""
        return _by_id(self.register.cards, card, "card")

    def instance_at(self, index: int) -> Instance | None:
        """The instance with this column in the matrices."""
        return next((one for one in self.register.instances.values() if one.index == index), None)

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
        before, named, warnings = self.register, set(self.state.world), list[str]()
        journal = self._journal = []
        try:
            yield warnings
            self._store(before, journal, warnings if not must_store else None)
        except BaseException:
            for decision in reversed(journal):
                self.monitor.undo(decision)
            self.register = before
            self._forget(set(self.state.world) - named)
            raise
        finally:
            self._journal = None
        self._publish(journal)

    def ask(self, request: Request) -> Decision:
        """The yes to this request, applied; raises Denied for everything else. Inside `change`."""
        if self._journal is None:
            raise Internal("a request outside a change")
        decision = self.monitor.ask(request)
        log.event(
            events.DECISION,
            decision=decision.answer,
            rule=request.rule,
            subject=request.to if request.to is not None else request.subject,
            object=request.object,
            attribute=request.attribute or "",
            property=decision.property or None,
            reason=decision.reason,
        )
        if not decision:
            raise denied(self.state, decision)
        self._journal.append(decision)
        return decision

    # ---- entities

    def create_user(self, user: User) -> None:
        """R7, then R5: the user is live, and the manager may instruct it."""
        self.monitor.name(user.name, USER)
        self.register = replace(self.register, users={**self.register.users, user.name: user})
        self._create(user.name)

    def create_instance(self, instance: Instance) -> None:
        """R7, then R5, with its owner fixed for its life."""
        self.monitor.name(instance.name, INSTANCE, owner=instance.owner)
        instances = {**self.register.instances, instance.name: instance}
        after = (instance.index + 1) % stored.INSTANCES_MAX
        self.register = replace(self.register, instances=instances, next_instance=after)
        self._create(instance.name)

    def create_card(self, card: Card) -> None:
        """R7, then R5: the card is free and clean."""
        self.monitor.name(card.name, CARD)
        self.register = replace(self.register, cards={**self.register.cards, card.name: card})
        self._create(card.name)

    def destroy(self, name: str) -> None:
        """R8: it is gone, with its row and column; its name may be used again."""
        self.ask(requests.destroy(name))
        register = self.register
        self.register = replace(
            register,
            users={key: one for key, one in register.users.items() if key != name},
            instances={key: one for key, one in register.instances.items() if key != name},
            cards={key: one for key, one in register.cards.items() if key != name},
        )

    def _create(self, name: str) -> None:
        ask = self._again if self._rebuilding else self.ask
        ask(requests.create(name))
        ask(requests.instruct(name))

    # ---- what is stored and published

    def _rebuild(self) -> None:
        """The state of the register: everything live, M as stored, b empty but for the manager's e*."""
        register, self.register = self.register, Register()
        # These were decided and logged when they were new; here they only have to be possible still.
        self._journal = []
        try:
            for user in register.users.values():
                self.create_user(user)
            for instance in register.instances.values():
                self.create_instance(instance)
            for card in register.cards.values():
                self.create_card(card)
            for (subject, target), attributes in register.access.items():
                for letter in attributes:
                    self._again(requests.give(subject, target, letter))
        except (Denied, ValueError) as error:
            raise ConfigError(f"{self.path}: {error}", reason="the rules refuse the stored policy") from None
        journal, self._journal = self._journal, None
        self.register = register
        self._publish(journal)

    def _again(self, request: Request) -> None:
        """A request of before the restart, decided a second time without a second line in the log."""
        assert self._journal is not None
        self._journal.append(self.monitor.require(request))

    def _store(self, before: Register, journal: list[Decision], warnings: list[str] | None) -> None:
        changes = (change for decision in journal for change in decision.changes)
        if any(change.table == "M" and change.subject != MANAGER for change in changes):
            access = {
                (str(subject), str(target)): letters(byte & GIVABLE)
                for target, column in self.state.M.items()
                for subject, byte in column.items()
                if subject != MANAGER
            }
            self.register = self.register.with_access(access)
        if self.register == before:
            return
        try:
            stored.store(self.path, self.register)
        except Failed as error:
            if warnings is None:
                raise
            warnings.append(f"it holds now, but not after a restart: {error.message}")

    def store(self) -> None:
        """The register is on the disk as it stands; raises Failed."""
        stored.store(self.path, self.register)

    def _publish(self, journal: list[Decision]) -> None:
        """What was decided is published; a name that ended is free from now on, its row having been cleared."""
        changes = [change for decision in journal for change in decision.changes]
        if not changes:
            return
        self.published.cells(changes)
        ended = {change.object for change in changes if change.table == "live"} - self.state.live
        self._forget(ended)
        self.published.ended(str(key) for key in ended)

    def _forget(self, keys: Iterable[Key]) -> None:
        """Instances first: a user may not be forgotten while one of them names it."""
        for key in sorted(keys, key=lambda one: self.state.kind(one) != INSTANCE):
            self.monitor.forget(key)


def _by_id(table: Mapping[str, _Kind], wanted: bytes, what: str) -> _Kind:
    for one in table.values():
        if one.id == wanted:
            return one
    raise Unknown(f"no {what} has the id {wanted.hex()[:64]}")
