"""What keeps a guest connected: a data connection that is made again when lost, keys loaded again that the card lost.

Everything that is sent goes through here, under one lock: a call of one thread is whole before another's begins.
After fork() the child closes its copies and makes a connection of its own when it first needs one; the
parent's goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from vecd.base.errors import Busy, Gone, Malformed, NoKey, ProtocolRefused, Unreachable, VecError
from vecd.guest import control
from vecd.guest.channel import Channel, Reply, Request
from vecd.guest.deadline import Deadline
from vecd.guest.held import Held
from vecd.guest.key import Key
from vecd.guest.startup import Run, StartUp
from vecd.protocol.identity import KeyRecord
from vecd.protocol.user import UserRun

REST_FIRST_S = 0.005
REST_MOST_S = 0.25

T = TypeVar("T")
Out = TypeVar("Out", covariant=True)


class Asking(Protocol[Out]):
    """A request of the user to its authority."""

    message: bytes

    def accept(self, answer: bytes, tick: float) -> Out:
        """What the answer says, once every check of it holds."""


class Connection:
    """The state of one guest with one card; every public method holds the lock."""

    def __init__(self, start: StartUp, timeout_s: float, retry: bool) -> None:
        self.start = start
        self.timeout_s = timeout_s
        self.retry = retry
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._channel: Channel | None = None
        self._run: Run | None = None
        self._last: UserRun | None = None
        # What is loaded, or was and can be loaded again, with its record.
        self._keys: dict[Key, KeyRecord] = {}
        self._child = False
        self.closed = False

    # -- the calls ----------------------------------------------------------------------------------------------
    def deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout_s if timeout is None else timeout)

    def connect(self, deadline: Deadline) -> None:
        """The card is verified."""
        with self._turn():
            self._again(deadline, lambda: self._fresh_run(deadline), None)

    def one_shot(self, make: Callable[[], Request], key: Key | None, what: str, deadline: Deadline) -> Reply:
        """The answer to a request that may be sent twice."""

        def attempt() -> Reply:
            return self._attached(deadline).ask(make(), deadline, what).require()

        with self._turn():
            return self._again(deadline, attempt, key)

    def restartable(self, attempt: Callable[[Channel], T], key: Key | None, deadline: Deadline) -> T:
        """The result of a whole exchange that starts from its beginning when it breaks."""
        with self._turn():
            return self._again(deadline, lambda: attempt(self._attached(deadline)), key)

    def open_stream(self, make: Callable[[], Request], key: Key | None, what: str, deadline: Deadline) -> StreamEnd:
        """The answer to a first part, and where the further parts go: that very connection and no other."""
        with self._turn():
            reply = self._again(deadline, lambda: self._attached(deadline).ask(make(), deadline, what).require(), key)
            assert self._channel is not None
            return StreamEnd(self, self._channel, reply)

    def load(self, key: Key, deadline: Deadline) -> None:
        """The key is in the card under `key.number`, and there is a data connection to use it on."""
        with self._turn():
            self._keys[key] = self._again(deadline, lambda: self._load(key, deadline), None)

    def release(self, deadline: Deadline) -> None:
        """R6 c: the instance lets go of its card; its keys there are destroyed, and forgotten here."""
        with self._turn():
            try:
                self._again(deadline, lambda: self._release(deadline), None)
            finally:
                self._last = None
                self._forget_keys()
                self._drop()

    def close(self, release: bool, timeout_s: float) -> None:
        """No connection is open; with `release`, keys that were loaded here are destroyed on the card first."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            mine = self._pid == os.getpid()
            try:
                if release and mine and not self._child and self._last is not None:
                    # Whoever cannot be told will notice: the broker releases instances without a connection.
                    with contextlib.suppress(VecError):
                        self._release(Deadline(timeout_s))
            finally:
                self._forget_keys()
                self._drop()

    def settle(self, operation: str, make: Callable[[], Asking[T]], deadline: Deadline) -> T:
        """What the authority's answer comes to, on a connection of its own; a request that is repeated is made anew,
        since its nonce is good for once."""

        def attempt() -> T:
            asking = make()
            answer = control.once(self.start.address, operation, asking.message, deadline)
            return asking.accept(answer, time.monotonic())

        with self._turn():
            return self._again(deadline, attempt, None)

    def revoked(self, record: KeyRecord) -> None:
        """The key of this record cannot be loaded any more; its handles are void."""
        with self._turn():
            for key in [key for key, loaded in self._keys.items() if loaded.kcv == record.kcv]:
                del self._keys[key]
                key.forget()

    # -- inside -------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if self._pid != os.getpid():
            self._after_fork()
        with self._lock:
            if self.closed:
                raise Gone("this card is closed", hint="Card.connect() opens another")
            yield

    def _after_fork(self) -> None:
        """In the child: the parent's connections are closed here, without a word to anybody."""
        # A thread of the parent may have held the lock at the fork; it does not exist here.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        if self._channel is not None:
            self._channel.close()
        if self._run is not None:
            self._run.control.close()
        self._channel = self._run = self._last = None
        # What the parent loaded is the parent's to release.
        self._child = True

    def _again(self, deadline: Deadline, attempt: Callable[[], T], key: Key | None) -> T:
        """What `attempt` gives; tried again after a loss, with the keys loaded again where the card lost them."""
        if key is not None and not key.number:
            raise NoKey("this key was released", hint="load_key() loads it again")
        rest_s = REST_FIRST_S
        lost_key = False
        reloaded = False
        while True:
            try:
                if lost_key:
                    lost_key, reloaded = False, True
                    self._reload(key, deadline)
                return attempt()
            except NoKey:
                if not self.retry or reloaded or not self._can_reload(key):
                    raise
                lost_key = True
            except (Gone, Unreachable, Busy) as error:
                if not isinstance(error, Busy):
                    self._drop()
                if not self.retry or deadline.left_s() <= rest_s:
                    raise
                time.sleep(rest_s)
                rest_s = min(rest_s * 2, REST_MOST_S)
                reloaded = False

    def _attached(self, deadline: Deadline) -> Channel:
        if self._channel is None or self._channel.closed:
            run = self._fresh_run(deadline)
            self._attach(run, deadline)
            run.control.close()
        assert self._channel is not None
        return self._channel

    def _attach(self, run: Run, deadline: Deadline) -> None:
        self._channel = self.start.attach(run, deadline)
        self._last = run.user

    def _fresh_run(self, deadline: Deadline) -> Run:
        if self._run is None or not self._run.fresh():
            if self._run is not None:
                self._run.control.close()
            self._run = None
            self._run = self.start.verify(deadline)
            self._last = self._last or self._run.user
        return self._run

    def _load(self, key: Key, deadline: Deadline) -> KeyRecord:
        given = key.given
        if given is None:
            raise NoKey("this handle names a key number only", hint="load_key() loads a key")
        with Held(given) as secret:
            record = self._record(key, secret.view)
            run = self._fresh_run(deadline)
            try:
                key.number = self.start.load(run, secret.view, record, deadline)
                self._last = run.user
                if self._channel is None or self._channel.closed:
                    self._attach(run, deadline)
            finally:
                # A run loads one key.
                run.control.close()
                self._run = None
        return record

    def _record(self, key: Key, secret: memoryview) -> KeyRecord:
        identity = self.start.identity
        if len(secret) != key.alg.key:
            raise Malformed(f"a key for {key.alg.text} has {key.alg.key} bytes, this one has {len(secret)}")
        for record in identity.registered:
            if record.alg == key.alg.text and key.usage in (None, record.usage) and record.fits(identity.id, secret):
                return record
        raise NoKey(
            "this key is not registered for this algorithm and usage", hint="register_key() registers a further key"
        )

    def _can_reload(self, key: Key | None) -> bool:
        return key in self._keys if key is not None else bool(self._keys)

    def _reload(self, key: Key | None, deadline: Deadline) -> None:
        """The key that is missing; for an operation without a key, the first that was loaded."""
        self._load(key if key is not None else next(iter(self._keys)), deadline)

    def _release(self, deadline: Deadline) -> None:
        if self._last is None:
            self._last = self._fresh_run(deadline).user
        try:
            message = self._last.release(self.start.place.instance)
            control.once(self.start.address, "RELEASE", message, deadline)
        except ProtocolRefused:
            # The card has forgotten that run: a fresh one speaks for this user as well.
            self._run = None
            run = self._fresh_run(deadline)
            control.once(self.start.address, "RELEASE", run.user.release(self.start.place.instance), deadline)

    def _forget_keys(self) -> None:
        for key in self._keys:
            key.forget()
        self._keys.clear()

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._run is not None:
            self._run.control.close()
        self._channel = self._run = None


class StreamEnd:
    """The connection on which a stream began. Without it the stream is gone: its state is in the card."""

    def __init__(self, connection: Connection, channel: Channel, first: Reply) -> None:
        self._connection = connection
        self._channel = channel
        self.first = first

    def ask(self, request: Request, what: str, deadline: Deadline) -> Reply:
        """The answer to a further part; the same part is asked again while the card is busy."""
        rest_s = REST_FIRST_S
        with self._connection._turn():
            while True:
                if self._connection._channel is not self._channel or self._channel.closed:
                    raise Gone(f"{what}: the stream broke with its connection", hint="begin it again")
                try:
                    return self._channel.ask(request, deadline, what).require()
                except Busy:
                    if not self._connection.retry or deadline.left_s() <= rest_s:
                        raise
                    time.sleep(rest_s)
                    rest_s = min(rest_s * 2, REST_MOST_S)

    def alive(self) -> bool:
        """A part could still be sent."""
        return self._connection._channel is self._channel and not self._channel.closed
