"""The authority: registers users, cards and the broker, signs the statements of the protocol, numbers keys.

Its private keys live in this process and nowhere else; it sees no K and no data. Two doors: `ca` for the broker, and
`ca-admin` for the operator, which the guard has no part in. Everything it knows is in its register (pki/store.py);
one thread does that work, so that a slow disk delays start-ups and no time-out.

State directory (0700): `ca.key.json` (0600, the seeds), `register.db`. Public: run/vecd/ca/ca.pub.json.
"""

from __future__ import annotations

import asyncio
import grp
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vecd.base import events, ipc, log, notify
from vecd.base.config import Config
from vecd.base.durable import sync_folder
from vecd.base.errors import EXIT_OK, Caller, ConfigError, Exhausted, ProtocolRefused, VecError
from vecd.base.paths import Paths
from vecd.base.start import Start, begin, lock_down
from vecd.control import calls
from vecd.pki.profile import Profile
from vecd.pki.registrar import Registrar
from vecd.pki.store import Store
from vecd.protocol import suites
from vecd.protocol.authority import Authority
from vecd.protocol.identity import CaKeys
from vecd.protocol.messages import ROLES

SCHEMA = 1
ROLE = "authority"
KEY_FILE, REGISTER_FILE, PUBLIC_FILE = "ca.key.json", "register.db", "ca.pub.json"
# Connections of one door: one broker (and its successor), a few operators.
DOOR_MAX = 16

Answer = Mapping[str, Any]


# ---- files -------------------------------------------------------------------------------------------------------


def write_whole(path: Path, text: str, mode: int) -> None:
    """The file holds the text, durably, and never half of it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        # The mode is the one asked for, whatever the umask.
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def open_state(state: Path) -> tuple[suites.PrivateKeys, Store]:
    """Keys and register, both made at the first start. Raises ConfigError where one of the two is gone.

    The register is made first: a start that is killed between the two leaves one in which nobody stands.
    """
    path = state / KEY_FILE
    store = Store(state / REGISTER_FILE, new=not path.exists())
    if not path.exists() and store.used():
        raise ConfigError(
            f"{path} is missing, but there is a register",
            reason="every certificate in it was signed with these keys",
            hint="restore the file, or move the whole directory away and enrol everybody again",
        )
    return load_keys(state), store


def load_keys(state: Path) -> suites.PrivateKeys:
    """The authority's keys, made at its first start."""
    path = state / KEY_FILE
    if not path.exists():
        keys = suites.generate()
        seeds = {"sign": keys.sign_seed.hex(), "seal": keys.seal_seed.hex()}
        write_whole(path, json.dumps({"schema": SCHEMA, "keys": seeds}) + "\n", 0o600)
        return keys
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"others may read {path}", hint=f"chmod 600 {path}, and think about who has read it")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))["keys"]
        return suites.PrivateKeys(bytes.fromhex(document["sign"]), bytes.fromhex(document["seal"]))
    except (ValueError, KeyError, TypeError, RecursionError, VecError):
        # Nothing of what stands there is quoted: it may be half a key.
        raise ConfigError(f"{path} is not the authority's key file") from None


def publish(path: Path, ca: CaKeys) -> None:
    """The public keys, for whoever wants to compare them with an enrolment file."""
    text = json.dumps({"schema": SCHEMA, "sign_key": ca.sign_key.hex(), "seal_key": ca.seal_key.hex()})
    write_whole(path, text + "\n", 0o644)


# ---- the two doors -----------------------------------------------------------------------------------------------


class Doors:
    """What is asked through `ca` and `ca-admin`, answered one after the other."""

    def __init__(self, authority: Authority, registrar: Registrar, clock: Callable[[], float] = time.time) -> None:
        self._authority, self._registrar, self._clock = authority, registrar, clock
        # The register is one thread's.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="register")
        self._calls: Mapping[str, Callable[[Mapping[str, Any], int], Answer]] = {
            "ca.register": self._register,
            "ca.verify": self._verify,
            "ca.loaded": self._loaded,
            "ca.key": self._key,
            "ca.keyrev": self._keyrev,
            "ca.who": self._who,
            "token.new": self._token_new,
            "register.list": self._list,
            "register.revoke": self._revoke,
        }

    async def handle(self, peer: ipc.Peer, call: str, args: dict[str, Any], fds: list[int]) -> Answer:
        """The answer of one call; refusals are logged and raised."""
        now = int(self._clock())
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._calls[call], args, now)
        except ProtocolRefused as e:
            log.event(events.PROTOCOL_REFUSED, rule=e.rule, subject=_subject(args), reason=e.reason)
            raise
        except Exhausted as e:
            log.event(events.STORE_FAILED, reason=e)
            raise

    def close(self) -> None:
        """Nothing is under way any more."""
        self._thread.shutdown(wait=True)

    # ---- ca --------------------------------------------------------------------------------------------------

    def _register(self, args: Mapping[str, Any], now: int) -> Answer:
        done = self._authority.register(args["body"], now)
        c = done.certificate
        log.event(events.REGISTERED, role=c.role, subject=c.id_x, serial=c.serial)
        return {"body": done.body}

    def _verify(self, args: Mapping[str, Any], now: int) -> Answer:
        both = self._authority.verify(args["body"], now)
        return {"to_card": both.to_card, "to_user": both.to_user}

    def _loaded(self, args: Mapping[str, Any], now: int) -> Answer:
        both = self._authority.loaded(args["sid"], args["body"], now)
        if both.ok:
            log.event(events.KEY_NUMBERED, key=both.number, subject=both.id_u, card=both.id_c)
        else:
            log.event(
                events.PROTOCOL_REFUSED, rule="message 9", subject=both.id_u, reason="keybad: not a registered key"
            )
        return {"to_card": both.to_card, "to_user": both.to_user, "ok": both.ok}

    def _key(self, args: Mapping[str, Any], now: int) -> Answer:
        done = self._authority.key(args["id_u"], args["body"], now)
        log.event(events.KEY_REGISTERED, subject=args["id_u"], serial=done.key.serial)
        return {"body": done.body}

    def _keyrev(self, args: Mapping[str, Any], now: int) -> Answer:
        done = self._authority.keyrev(args["id_u"], args["body"], now)
        log.event(events.REVOKED, role="key of", subject=args["id_u"], reason="its user asked for it")
        statement = done.statement.hex()
        return {"body": done.statement, "to_cards": [{"id": id_c.hex(), "body": statement} for id_c in done.cards]}

    def _who(self, args: Mapping[str, Any], now: int) -> Answer:
        return asdict(self._authority.who())

    # ---- ca-admin --------------------------------------------------------------------------------------------

    def _token_new(self, args: Mapping[str, Any], now: int) -> Answer:
        i = self._registrar.token_new(
            args["role"], args["name"], now, valid_s=args.get("valid_s"), card=args.get("card")
        )
        log.event(events.TOKEN_ISSUED, role=i.role, subject=i.name, id=i.id)
        answer: dict[str, Any] = {
            "id": i.id,
            "token": i.token,
            "ca_sign_key": i.ca.sign_key,
            "ca_seal_key": i.ca.seal_key,
            "expires": i.expires,
        }
        return answer if i.card_id is None else answer | {"card_id": i.card_id}

    def _list(self, args: Mapping[str, Any], now: int) -> Answer:
        return {"parties": [asdict(party) | {"id": party.id.hex()} for party in self._registrar.list(now)]}

    def _revoke(self, args: Mapping[str, Any], now: int) -> Answer:
        self._registrar.revoke(args["id"])
        log.event(events.REVOKED, role="party", subject=args["id"], reason="the operator asked for it")
        return {}


def _subject(args: Mapping[str, Any]) -> bytes | str:
    return args.get("id_u") or "a guest"


def admits(door: str, uids: frozenset[int], gid: int = -1) -> Callable[[ipc.Peer], None]:
    """These uids and the members of the group may knock; others are refused."""

    def admit(peer: ipc.Peer) -> None:
        if peer.uid not in uids and (gid < 0 or gid not in peer.groups | {peer.gid}):
            raise Caller(f"uid {peer.uid} may not use the door {door}", hint="see vecd.toml: authority.admin_group")

    return admit


def _group(name: str) -> int:
    """A group's number; -1 where this machine has no such group, or the door may not be given to it."""
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        return -1
    return gid if os.geteuid() == 0 or gid in (os.getegid(), *os.getgroups()) else -1


# ---- the process -------------------------------------------------------------------------------------------------


def _directory(path: Path, mode: int, uid: int) -> None:
    """The directory is there; one made here has this mode, and so that it can be reached the ones above it 0755."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        _directory(path.parent, 0o755, -1)
    path.mkdir()
    # Whatever the umask.
    path.chmod(mode)
    if uid >= 0 and os.geteuid() == 0:
        # ROOT: the directory belongs to the uid that we become.
        os.chown(path, uid, uid)


def _doors(paths: Paths, config: Config) -> list[tuple[str, socket.socket, Callable[[ipc.Peer], None]]]:
    """The listening sockets, and whom each admits: the broker's uid, the operators' group; always ours and root."""
    mine = config.authority.uid if config.authority.uid >= 0 else os.geteuid()
    ours = frozenset((0, mine))
    broker = config.broker.uid if os.geteuid() == 0 else -1
    gid = _group(config.authority.admin_group)
    # ROOT: the doors belong to those who may knock.
    ca = ipc.listen(paths.ca, mode=0o600, uid=broker if broker >= 0 else mine if os.geteuid() == 0 else -1)
    owner = mine if os.geteuid() == 0 else -1
    admin = ipc.listen(paths.ca_admin, mode=0o660 if gid >= 0 else 0o600, uid=owner, gid=gid)
    return [
        ("ca", ca, admits("ca", ours | {config.broker.uid})),
        ("ca-admin", admin, admits("ca-admin", ours, gid)),
    ]


def profile_of(config: Config) -> Profile:
    seconds = config.authority.certificate_s
    return Profile(
        lifetime_s=dict.fromkeys(ROLES, seconds),
        token_s=config.authority.token_s,
        statement_s=config.authority.statement_s,
    )


async def _serve(
    started: Start, listening: list[tuple[str, socket.socket, Callable[[ipc.Peer], None]]], state: Path
) -> None:
    keys, store = open_state(state)
    profile = profile_of(started.config)
    authority = Authority(store, keys, secrets.token_bytes, profile)
    doors = Doors(authority, Registrar(store, keys, secrets.token_bytes, profile))
    publish(started.paths.ca.with_name(PUBLIC_FILE), authority.who())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [
        await ipc.serve(listener, doors.handle, table=calls.door(name, ROLE), admit=admit, limit=DOOR_MAX, name=name)
        for name, listener, admit in listening
    ]
    notify.ready("registers, certifies, numbers keys")
    log.event(events.READY, role=ROLE, reason=f"doors {', '.join(name for name, _, _ in listening)}")
    await stop.wait()
    notify.stopping()
    log.event(events.STOPPING, role=ROLE, reason="asked to")
    for server in servers:
        server.close()
    doors.close()
    store.close()


def main(argv: Sequence[str]) -> int:
    """The authority until SIGTERM. What ends it otherwise is raised: vecd/__main__.py makes it an exit code."""
    started = begin(ROLE, argv)
    config, state = started.config, started.paths.state_of(ROLE)
    _directory(started.paths.ca.parent, 0o755, config.authority.uid)
    _directory(state, 0o700, config.authority.uid)
    listening = _doors(started.paths, config)
    lock_down(started, uid=config.authority.uid, fds=[listener.fileno() for _, listener, _ in listening])
    asyncio.run(_serve(started, listening, state))
    return EXIT_OK
