"""Who there is, by name, by id and by place in the matrices: the register with its indexes. Nothing here is decided."""

from collections.abc import Mapping
from typing import TypeVar

from vecd.base.errors import Unknown
from vecd.services.guard_parts.entries import INSTANCES_MAX, Card, Instance, Register, User

_Kind = TypeVar("_Kind", User, Instance, Card)


class Directory:
    """The register while the guard runs. A look costs the same however many there are."""

    def __init__(self, register: Register) -> None:
        self.register = register
        self._ids: dict[type, dict[bytes, User | Instance | Card]] = {User: {}, Instance: {}, Card: {}}
        self._places: dict[type, dict[int, User | Instance | Card]] = {User: {}, Instance: {}, Card: {}}
        # u -> its instances by name.
        self._owned: dict[str, dict[str, Instance]] = {}

    # ---- looking things up

    def entity(self, name: str) -> User | Instance | Card:
        """What has this name; raises Unknown."""
        register = self.register
        found = register.instances.get(name) or register.cards.get(name) or register.users.get(name)
        if found is None:
            raise Unknown(f"there is nothing called {name[:64]!r}", hint="vecctl guest list, vecctl card list")
        return found

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
        return self._by_id(User, user, "guest")

    def instance_by_id(self, instance: bytes) -> Instance:
        """The instance of this id; raises Unknown."""
        return self._by_id(Instance, instance, "instance")

    def card_by_id(self, card: bytes) -> Card:
        """The card of this id; raises Unknown."""
        return self._by_id(Card, card, "card")

    def has_id(self, kind: type[_Kind], wanted: bytes) -> _Kind | None:
        """Who of this kind has the id, if anybody."""
        found = self._ids[kind].get(wanted)
        return found if isinstance(found, kind) else None

    def instance_at(self, index: int) -> Instance | None:
        """The instance with this column in the matrices."""
        found = self._places[Instance].get(index)
        return found if isinstance(found, Instance) else None

    def instances_of(self, user: str) -> list[Instance]:
        """The user's instances, in the order of their indices."""
        return sorted(self._owned.get(user, {}).values(), key=lambda one: one.index)

    def free_place(self, kind: type, most: int) -> int | None:
        """The first place in the matrices that nobody of this kind has."""
        taken = self._places[kind]
        return next((index for index in range(most) if index not in taken), None)

    def free_columns(self, count: int) -> list[int]:
        """Columns for so many new instances: in a circle, so that one that was freed is not the next. []: too few."""
        taken, first = self._places[Instance], self.register.next_instance
        if len(taken) + count > INSTANCES_MAX:
            return []
        found: list[int] = []
        for step in range(INSTANCES_MAX):
            index = (first + step) % INSTANCES_MAX
            if index not in taken:
                found.append(index)
                if len(found) == count:
                    break
        return found

    def _by_id(self, kind: type[_Kind], wanted: bytes, what: str) -> _Kind:
        found = self.has_id(kind, wanted)
        if found is None:
            raise Unknown(f"no {what} has the id {wanted.hex()[:64]}", hint="vecctl guest list, vecctl card list")
        return found

    # ---- changing it

    def index(self) -> None:
        """Everybody of the register is found."""
        for table in self._tables().values():
            for one in table.values():
                self._found(one)

    def add(self, one: User | Instance | Card) -> None:
        """It is there and found."""
        self._tables()[type(one)][one.name] = one
        self._found(one)

    def remove(self, one: User | Instance | Card) -> None:
        """It is not there any more."""
        self._tables()[type(one)].pop(one.name, None)
        self._ids[type(one)].pop(one.id, None)
        self._places[type(one)].pop(one.index, None)
        if isinstance(one, Instance):
            self._owned.get(one.owner, {}).pop(one.name, None)
        elif isinstance(one, User):
            self._owned.pop(one.name, None)

    def _tables(self) -> Mapping[type, dict[str, User | Instance | Card]]:
        register = self.register
        return {User: register.users, Instance: register.instances, Card: register.cards}  # type: ignore[dict-item]

    def _found(self, one: User | Instance | Card) -> None:
        self._ids[type(one)][one.id] = one
        self._places[type(one)][one.index] = one
        if isinstance(one, Instance):
            self._owned.setdefault(one.owner, {})[one.name] = one
