"""What the guard's parts share: the book, the card links, the broker, the listeners, the locks and the time limits.

Locks: one for each user (R1 u->i, R6 and R10 u->i, R7 and R8 of it and its instances), one for each card (R1, R6 c,
R10 i->k). Order: a user, then cards by ascending index. A rule itself never awaits and needs none of them (R9 takes
none); the locks keep two revocations from meeting in the middle of their sequences, and a card that hangs keeps only
those waiting who are on it.
"""

import asyncio
import socket
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from vecd.base import ipc
from vecd.base.paths import Paths
from vecd.ppm.policy import Policy
from vecd.services.guard_parts.audit import Audit
from vecd.services.guard_parts.book import Book
from vecd.services.guard_parts.entries import Card, Instance
from vecd.services.guard_parts.rates import Rates
from vecd.shm.layout import Word
from vecd.shm.writer import CardWord


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the guard waits, in seconds."""

    # T1: what is in flight when a right is withdrawn may end by itself.
    drain_s: float = 0.5
    # A card or the broker answers a call.
    answer_s: float = 2.0
    # A killed card process ends.
    kill_s: float = 2.0
    # A card keeps its keys for so long without a guard.
    away_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen last in a card's word, and since when it stands as it is, on the loop's clock."""

    of: CardWord
    word: Word
    at_s: float
    since_s: float


class CardLink:
    """One card's door: the process behind it, its word, and the lock that the rules about it need."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        # One relay at a time is handed out, or two pairs could be taken crosswise.
        self.relay_lock = asyncio.Lock()
        # A process that has connected, and of it alone: its pidfd, and from its hello on its word.
        self.peer: ipc.Peer | None = None
        self.pidfd: int | None = None
        self.word: CardWord | None = None
        self.driver = ""
        self.since = 0.0
        # By its certificate: what its audit log is signed with; and what it says is wrong there.
        self.sign_key: bytes | None = None
        self.alarms: tuple[str, ...] = ()
        self.root_s = 0.0
        # Why the card is out of service; "" while it is in service or absent.
        self.out = ""
        # Its word said what it may not: it does not come back by itself.
        self.lied = False
        # What the patrol saw last.
        self.sight: Sight | None = None
        # Of the last word: the next one is greater.
        self.generation = 0
        # How its instances share it, as configured; what its process was told last, and why it did not take it.
        self.share, self.slot_us = "fair", 0
        self.turns: tuple[CardWord, dict[int, int]] | None = None
        self.turns_refused = ""
        self.turns_moved = False
        self.turns_lock = asyncio.Lock()

    @property
    def serving(self) -> bool:
        """Its process said hello, and nothing is wrong with it."""
        return self.word is not None and not self.out


@dataclass
class Broker:
    """The broker, while it is connected and has said hello."""

    peer: ipc.Peer | None = None
    since: float = 0.0

    @property
    def connected(self) -> bool:
        """There is a broker to speak to."""
        return self.peer is not None and not self.peer.closed.is_set()


@dataclass
class Guard:
    """The process."""

    paths: Paths
    book: Book
    # The card's signature key; raises unless the certificate is the authority's for a card of this id.
    certified: Callable[[bytes, bytes], bytes | None]
    limits: Limits = field(default_factory=Limits)
    rates: Rates = field(default_factory=lambda: Rates(300.0, 1000.0))
    # What was applied last; None: no guest is managed.
    policy: Policy | None = None
    # Of what is decided about all users together; before any other lock.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    links: dict[str, CardLink] = field(default_factory=dict)
    broker: Broker = field(default_factory=Broker)
    # By guest: the listening sockets that are the broker's to accept on, with their kind.
    listeners: dict[str, list[tuple[str, socket.socket]]] = field(default_factory=dict)
    doors: dict[str, ipc.Server] = field(default_factory=dict)
    boot: dict[str, Any] = field(default_factory=dict)
    # None where nobody keeps this guard's decisions: tests.
    audit: Audit | None = None
    started: float = field(default_factory=time.time)
    _since_s: float = field(default_factory=time.monotonic)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    # A lock is there as long as somebody holds it or waits for it.
    _users: weakref.WeakValueDictionary[str, asyncio.Lock] = field(default_factory=weakref.WeakValueDictionary)

    def link(self, card: str) -> CardLink:
        """The card's link, also where no process has connected."""
        link = self.links.get(card)
        if link is None:
            link = self.links[card] = CardLink(card)
        return link

    def may_hold_keys(self, card: str) -> bool:
        """A process of the card is there, or may still come back with what it had under the guard before this one."""
        link = self.link(card)
        if link.out or self.quarantined(card):
            return False
        return link.peer is not None or time.monotonic() - self._since_s < self.limits.away_s

    def quarantined(self, card: str) -> str:
        """Why the card may not come back by itself; "" where it may."""
        return self.book.register.quarantine.get(card, "")

    def user_lock(self, user: str) -> asyncio.Lock:
        """The lock of what is decided about this user."""
        lock = self._users.get(user)
        if lock is None:
            lock = self._users[user] = asyncio.Lock()
        return lock

    def busy_with(self, user: str) -> bool:
        """Something is being decided about the user that takes more than a moment."""
        lock = self._users.get(user)
        return lock is not None and lock.locked()

    def soon(self, begin: Callable[[], None]) -> None:
        """`begin` is called before long and may propose to the book; what came together is written together."""
        self.book.soon(begin, asyncio.get_running_loop().call_soon_threadsafe)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """The work is done by the side; it handles its own errors."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def locked(self, cards: list[Card]) -> AsyncIterator[list[CardLink]]:
        """The cards' locks are held, taken in the order of their indices."""
        async with AsyncExitStack() as stack:
            links = []
            for card in sorted(cards, key=lambda one: one.index):
                link = self.link(card.name)
                await stack.enter_async_context(link.lock)
                links.append(link)
            # Who holds locks looks before it acts.
            self.book.commit()
            yield links

    @asynccontextmanager
    async def reached(self, instances: list[Instance]) -> AsyncIterator[list[CardLink]]:
        """The locks of every card on which one of the instances holds c are held: of all of them, also of one that was
        connected while the others were waited for."""
        while True:
            cards = self._cards_of(instances)
            async with self.locked(list(cards.values())) as links:
                if self._cards_of(instances).keys() <= cards.keys():
                    yield links
                    return

    def _cards_of(self, instances: list[Instance]) -> dict[str, Card]:
        return {card.name: card for one in instances for card in self.book.cards_of(one.name)}
