"""The authority's register in memory, cheap to copy: behind the interface of vecd.pki.store.

`test_register.py` holds it equal to the real one. Numbers come from `number`, so that an explorer may name them after
what they were given for and does not tell apart two states by who came first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from vecd.protocol.authority import CertificateRow, KeyRow, SessionRow, Token
from vecd.protocol.messages import Certificate

Number = Callable[[str], int]


class Memory:
    """Everything an authority remembers; a transaction is all or nothing."""

    def __init__(self, number: Number | None = None) -> None:
        self.tables: dict[str, dict[Any, Any]] = {
            name: {} for name in ("parties", "tokens", "certificates", "keys", "holders", "nonces", "sessions", "next")
        }
        self.number = number

    @contextmanager
    def transaction(self) -> Iterator[_Transaction]:
        before = {name: dict(table) for name, table in self.tables.items()}
        try:
            yield _Transaction(self)
        except BaseException:
            self.tables = before
            raise


class _Transaction:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.__dict__.update({f"_{name}": table for name, table in memory.tables.items()})

    def _number(self, of: str) -> int:
        if self._memory.number is not None:
            return self._memory.number(of)
        self._next[of] = self._next.get(of, 0) + 1
        return self._next[of]

    def next_serial(self) -> int:
        return self._number("serial")

    def next_key_number(self) -> int:
        return self._number("N_K")

    def party_id(self, role: str, name: str) -> bytes | None:
        return self._parties.get((role, name))

    def add_party(self, role: str, name: str, id: bytes) -> None:
        self._parties[role, name] = id

    def issue_token(self, role: str, id: bytes, sealed: bytes, expires: int) -> None:
        self._tokens[id] = Token(role, sealed, expires)

    def token(self, id: bytes) -> Token | None:
        return self._tokens.get(id)

    def token_issued(self, id: bytes) -> bool:
        return id in self._tokens

    def use_token(self, id: bytes) -> None:
        self._tokens[id] = None

    def certificate(self, id: bytes) -> CertificateRow | None:
        return self._certificates.get(id)

    def certify(self, c: Certificate, statement: bytes) -> None:
        before = self._certificates.get(c.id_x)
        if before is not None and before.pkS != c.pkS_x:
            for key in [key for key in self._nonces if key[0] == c.id_x]:
                del self._nonces[key]
        self._certificates[c.id_x] = CertificateRow(c.serial, c.role, c.pkE_x, c.pkS_x, c.nbf, c.exp)

    def keys(self, id_u: bytes) -> list[KeyRow]:
        return list(self._keys.get(id_u, ()))

    def add_key(self, id_u: bytes, name: str, row: KeyRow, r_K: bytes) -> None:
        # In the order of kcv: which was registered first shows nowhere.
        self._keys[id_u] = tuple(sorted((*self._keys.get(id_u, ()), row), key=lambda row: row.kcv))

    def revoke_key(self, serial: int) -> None:
        for id_u, rows in self._keys.items():
            self._keys[id_u] = tuple(replace(r, revoked=True) if r.serial == serial else r for r in rows)

    def add_holder(self, serial: int, id_c: bytes) -> None:
        self._holders[serial, id_c] = True

    def holders(self, serial: int) -> list[bytes]:
        return [id_c for of, id_c in self._holders if of == serial]

    def spend_nonce(self, id: bytes, nonce: bytes) -> bool:
        new = (id, nonce) not in self._nonces
        self._nonces[id, nonce] = True
        return new

    def add_session(self, sid: bytes, row: SessionRow) -> None:
        self._sessions[sid] = row

    def session(self, sid: bytes) -> SessionRow | None:
        return self._sessions.get(sid)

    def use_session(self, sid: bytes) -> None:
        self._sessions[sid] = replace(self._sessions[sid], used=True)

    def prune_sessions(self, now: int) -> None:
        for sid in [sid for sid, row in self._sessions.items() if row.exp <= now]:
            del self._sessions[sid]
