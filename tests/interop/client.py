"""A guest in whole: control connection, session, keys, data connection."""

from __future__ import annotations

from types import TracebackType

from .control import Control
from .data import Data
from .registration import Identity, Record, register_key, revoke_key
from .session import Session, attach, load, release, verify


class Client:
    """One instance of a registered guest on one card."""

    def __init__(self, address: str, identity: Identity) -> None:
        self.address, self.identity = address, identity
        self.control = Control(address)
        first = self.control.hello()["instances"][0]
        self.instance = bytes.fromhex(first["instance"])
        self.id_c = bytes.fromhex((identity.card or first["cards"][0])["id"])
        self.session: Session | None = None
        self.data: Data | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, _type: type | None, _value: BaseException | None, _where: TracebackType | None) -> None:
        self.close()

    def verify(self) -> Session:
        """A fresh run, messages 1 to 6."""
        self.session = verify(self.control, self.identity, self.id_c)
        return self.session

    def load(self, key: bytes, record: Record | None = None) -> int:
        """A fresh run with this key loaded, messages 1 to 12; N_K."""
        return load(self.control, self.verify(), key, record or self.identity.registered[0])

    def attach(self) -> Data:
        """A data connection bound to the latest run; control goes on over a connection of its own."""
        assert self.session is not None
        line = Control(self.address)
        attach(line, self.session, self.instance)
        self.data = Data(line)
        return self.data

    def register_key(self, key: bytes, name: str, alg: str = "AES-256-GCM", usage: int = 3) -> Record:
        return register_key(self.control, self.identity, key, name, alg, usage)

    def revoke_key(self, record: Record) -> int:
        return revoke_key(self.control, self.identity, record)

    def release(self) -> None:
        """R6 c, in the name of the latest run."""
        assert self.session is not None
        release(self.control, self.session, self.instance)

    def close(self) -> None:
        """Both connections are closed; the keys stay in the card for a while."""
        self.control.close()
        if self.data is not None:
            self.data.line.close()
