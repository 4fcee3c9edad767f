"""A guard in the test's own loop, with cards and a broker that are fakes behind the real doors."""

import asyncio
import functools
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vecd.base import ipc
from vecd.base.config import Card as CardRow
from vecd.base.config import Config
from vecd.base.errors import ProtocolRefused, VecError
from vecd.base.paths import Paths
from vecd.control import calls
from vecd.services import guard as service
from vecd.services.guard_parts import guests
from vecd.services.guard_parts.context import Guard, Limits
from vecd.services.guard_parts.doors import open_doors
from vecd.shm.layout import CONTROL, FREE, Word, decode, encode
from vecd.shm.reader import Matrices

LIMITS = Limits(drain_s=0.08, answer_s=0.25, kill_s=0.5)
CARDS = {"c0": b"c" * 16, "c1": b"d" * 16}
USERS = {"A": b"a" * 16, "B": b"b" * 16}


class FakeCard:
    """Behind a card's door: steps its word as it is told to, and answers what the guard asks."""

    def __init__(self, name: str) -> None:
        self.name, self.id = name, CARDS.get(name, b"x" * 16)
        self.asked: list[tuple[str, dict]] = []
        # Calls that are never answered, and those that are refused.
        self.hangs: set[str] = set()
        self.refuses: dict[str, VecError] = {}
        self.wipes = True
        self.keys: set[int] = set()
        self.context = self.output = -1
        self.peer: ipc.Peer | None = None
        self.answer: dict = {}
        self.relays = 0
        # What the guard asks waits for what its hello answered, as in a real card.
        self.bound = asyncio.Event()

    async def come(self, paths: Paths) -> "FakeCard":
        self.peer = await ipc.connect(
            str(paths.card(self.name)), self._asked, table=calls.door("card", "card"), timeout=1.0
        )
        return self

    async def hello(self, slots=(), instances=(), certificate=b"good") -> "FakeCard":
        arguments = {"driver": "fake", "id": self.id, "certificate": certificate}
        self.answer = await self.peer.call(
            "card.hello", {**arguments, "slots": list(slots), "instances": list(instances)}
        )
        matrices, word = self.answer.fds
        self.index = self.answer["card"]
        self.matrices = Matrices.open(matrices)
        self.memory = mmap.mmap(word, 4096)
        os.close(matrices), os.close(word)
        self.bound.set()
        return self

    @property
    def word(self) -> Word:
        return decode(struct.unpack_from("<Q", self.memory)[0])

    def write(self, **fields) -> None:
        """The word has these fields now, whatever a rule says."""
        word = self.word
        now = {name: getattr(word, name) for name in Word.__slots__} | fields
        struct.pack_into("<Q", self.memory, 0, encode(Word(**now)))

    def turn(self, instance: int, held: int = 8, status: int = CONTROL, inflight: int = 0) -> None:
        """R12 gave the slot to this instance."""
        generation = self.word.generation + 1
        self.write(owner=instance, held=held, status=status, inflight=inflight, generation=generation)

    def calls(self, name: str) -> list[dict]:
        return [arguments for call, arguments in self.asked if call == name]

    def looked_at(self) -> bool:
        """The guard knows what is left in the card: it is in service from then on."""
        return bool(self.calls("card.residue") or self.calls("card.clean"))

    async def _asked(self, _peer, call, arguments, fds):
        self.asked.append((call, arguments))
        if call != "card.broker":
            await self.bound.wait()
        if call in self.hangs:
            await asyncio.sleep(3600)
        if call in self.refuses:
            raise self.refuses[call]
        return getattr(self, "_" + call.replace(".", "_"))(arguments)

    def _instance_connect(self, arguments):
        return {}

    def _instance_drop(self, arguments):
        self.keys.discard(arguments["instance"])
        return self._card_residue({})

    def _instance_rescind(self, arguments):
        return {}

    def _card_clean(self, arguments):
        if self.wipes:
            self.context = self.output = -1
            if self.word.status != FREE:
                self.turn(None, 0)
        return {"wiped": self.wipes, **self._card_residue({})}

    def _card_residue(self, arguments):
        return {"context": self.context, "output": self.output, "keys": sorted(self.keys)}

    def _card_broker(self, arguments):
        self.relays += 1
        return {}

    def _card_schedule(self, arguments):
        return {}

    def _card_report(self, arguments):
        share = {"instance": 0, "weight": 1, "slots": 0, "turns": 9, "engine_ns": 812345}
        turns = {
            "share": "fair",
            "slot_us": 0,
            "round": 0,
            "realtime": False,
            "most": 0,
            "slots": 0,
            "overruns": 0,
            "missed": 0,
        }
        return {"requests": 7, "turns": turns | {"shares": [share]}}


class FakeBroker:
    """Behind the broker's door."""

    def __init__(self) -> None:
        self.listeners: dict[str, tuple[bytes, str]] = {}
        self.cards: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def come(self, paths: Paths) -> "FakeBroker":
        table = calls.door("broker", "broker")
        self.peer = await ipc.connect(str(paths.broker), self._asked, table=table, timeout=1.0)
        await self.peer.call("broker.hello")
        return self

    async def _asked(self, _peer, call, arguments, fds):
        self.asked.append(call)
        if call == "listener.add":
            self.listeners[arguments["name"]] = (arguments["id_u"], arguments["kind"])
        elif call == "listener.remove":
            self.listeners.pop(arguments["name"], None)
        elif call == "card.add":
            self.cards[arguments["name"]] = arguments["id"]
        elif call == "card.remove":
            self.cards.pop(arguments["name"], None)
        return {}


class World:
    """Paths, the guard and who knocks at it."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.config = Config(card=(CardRow("c0"), CardRow("c1")))
        self.guard: Guard | None = None

    async def start(self) -> Guard:
        service.prepare(self.paths)
        book, holds = service.open_book(self.paths)
        self.guard = Guard(self.paths, book, certified, LIMITS, policy=holds)
        guests.reopen(self.guard)
        await open_doors(self.guard, self.config)
        self.admin = await ipc.connect(str(self.paths.admin), None, table=calls.door("admin", "vecctl"), timeout=1.0)
        return self.guard

    async def stop(self) -> None:
        """As SIGKILL does it: everything of the guard is closed, nothing is told to anybody."""
        for door in self.guard.doors.values():
            door.close()
        for listeners in self.guard.listeners.values():
            for _, listener in listeners:
                listener.close()
        await asyncio.sleep(0.01)
        for link in self.guard.links.values():
            if link.word is not None:
                link.word.close()
        self.guard.book.matrices.close()

    async def ask(self, call: str, **arguments):
        return await self.admin.call(call, arguments)

    async def card(self, name: str = "c0", **hello) -> FakeCard:
        fake = await (await FakeCard(name).come(self.paths)).hello(**hello)
        await settled(fake.looked_at)
        return fake

    async def guest(self, name: str = "A", *cards: str):
        return await self.ask("guest.add", name=name, id=USERS[name], cards=list(cards or ("c0",)))

    async def session(self, broker: FakeBroker, name: str = "A", card: str = "c0") -> int:
        """R1, R2, R4 and R1 i->k; the instance's index."""
        who = await broker.peer.call("guest.who", {"name": name})
        arguments = {"id_u": USERS[name], "instance": who["instances"][0]["instance"], "card": CARDS[card]}
        return (await broker.peer.call("guest.connect", arguments))["index"]

    def b(self, subject: str, target: str) -> str:
        """b[s][o] in letters, as the guard's state has it."""
        from vecd.ppm.state import letters

        return letters(self.guard.book.state.holds(subject, target))


@contextmanager
def no_room(world: World) -> Iterator[None]:
    """Nothing of the guard's can be written to the disk."""
    fresh = world.paths.policy.with_name("policy.json.new")
    world.guard.book.store._journal.broken = True
    fresh.symlink_to("/dev/full")
    try:
        yield
    finally:
        fresh.unlink()


def certified(certificate: bytes, identity: bytes) -> None:
    if certificate != b"good":
        raise ProtocolRefused("registration 4 was refused", rule="registration 4", reason="the signature is wrong")


async def settled(condition: Callable[[], object], seconds: float = 2.0) -> None:
    """The condition holds; fails after the time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.002)


def in_world(test: Callable) -> Callable:
    """The test is a coroutine in a world of its own."""

    @functools.wraps(test)
    def run(tmp_path):
        async def whole():
            world = World(tmp_path)
            await world.start()
            try:
                await test(world)
            finally:
                await world.stop()

        asyncio.run(whole())

    # What pytest looks at to find fixtures.
    del run.__wrapped__
    return run
