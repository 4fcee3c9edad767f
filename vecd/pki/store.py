"""The register on disk: SQLite, one transaction for each message, durable before it is answered.

WAL with synchronous=FULL: a commit is on the disk when it returns, and a killed process leaves the last commit. What
must never be is forbidden by the schema, not by the code that uses it: two valid certificates for one id, one token
used twice, one nonce or sid twice. docs/protocol.md, "The register".
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vecd.base.errors import ConfigError, Exhausted, Failed
from vecd.protocol.authority import CertificateRow, KeyRow, SessionRow, Token
from vecd.protocol.messages import Certificate
from vecd.protocol.suites import h

from .registrar import Party

SCHEMA_VERSION = 1
# Nonces kept of one party, the newest; docs/protocol.md says why older ones do no harm.
NONCES_MAX = 1 << 18
# Bytes of a nonce that are kept: enough that two never meet by chance, and a false meeting only costs a new draw.
_NONCE_KEPT = 16
_SIGNER_KEPT = 8

_SCHEMA = """
CREATE TABLE counters (name TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('serial', 1), ('key_number', 1);

CREATE TABLE parties (
    id BLOB PRIMARY KEY, role TEXT NOT NULL, name TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0,
    runs INTEGER NOT NULL DEFAULT 0, UNIQUE (role, name)
) WITHOUT ROWID;

CREATE TABLE tokens (
    id BLOB PRIMARY KEY REFERENCES parties, role TEXT NOT NULL, sealed BLOB, expires INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE certificates (
    serial INTEGER PRIMARY KEY, id BLOB NOT NULL REFERENCES parties, role TEXT NOT NULL, id_d BLOB NOT NULL,
    pkE BLOB NOT NULL, pkS BLOB NOT NULL, nbf INTEGER NOT NULL, exp INTEGER NOT NULL, statement BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('valid', 'replaced', 'revoked'))
);
CREATE UNIQUE INDEX one_valid_certificate ON certificates (id) WHERE state = 'valid';

CREATE TABLE keys (
    serial INTEGER PRIMARY KEY, id_u BLOB NOT NULL REFERENCES parties, name TEXT NOT NULL, alg TEXT NOT NULL,
    usage INTEGER NOT NULL, kcv BLOB NOT NULL, r_K BLOB NOT NULL, revoked INTEGER NOT NULL DEFAULT 0, UNIQUE (id_u, kcv)
);
CREATE TABLE holders (serial INTEGER REFERENCES keys, id_c BLOB, PRIMARY KEY (serial, id_c)) WITHOUT ROWID;

CREATE TABLE nonces (
    id BLOB, nonce BLOB, signer BLOB NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (id, nonce)
) WITHOUT ROWID;
CREATE INDEX nonces_by_age ON nonces (id, run);

CREATE TABLE sessions (
    sid BLOB PRIMARY KEY, id_u BLOB NOT NULL, id_c BLOB NOT NULL, serial_u INTEGER NOT NULL, serial_c INTEGER NOT NULL,
    exp INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX sessions_by_age ON sessions (exp);
"""

# How long a start waits for another process to let go of the register, seconds.
_LOCKED_S = 1.0
# SQLite's integers end here; a counter that came so far is at its end.
_COUNTER_MAX = 2**63 - 1


class Store:
    """The register in one file, 0600; ":memory:" keeps it nowhere. Used by one thread at a time
    and by one process: the file is locked.

    max_pages bounds its size in pages of 4 KiB. Raises ConfigError for a file that is not a register of this version;
    also, without `new`, for one that is not there or empty: numbers would be given away a second time.
    """

    def __init__(self, path: str | Path, *, new: bool = True, max_pages: int | None = None) -> None:
        self._new = new
        if str(path) != ":memory:":
            # Made here, so that it is never there with another mode; SQLite gives -wal and -shm the same.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_LOCKED_S)
        try:
            self._prepare(path, max_pages)
        except BaseException:
            # A connection that is only forgotten would keep the file locked.
            self._db.close()
            raise

    def _prepare(self, path: str | Path, max_pages: int | None) -> None:
        with _damage(path), _writing():
            for pragma in (
                "locking_mode=EXCLUSIVE",
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "secure_delete=ON",
            ):
                self._db.execute(f"PRAGMA {pragma}")
            if max_pages is not None:
                self._db.execute(f"PRAGMA max_page_count={max_pages:d}")
            self._open_schema(path)

    def _open_schema(self, path: str | Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0 and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            if not self._new:
                raise ConfigError(
                    f"{path} is missing or empty, but there are the keys of an authority",
                    reason="what it registered, numbered and revoked would be forgotten",
                    hint="restore the file, or move the whole directory away and enrol everybody again",
                )
            # executescript would commit by itself: schema and version are one transaction, or none.
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise ConfigError(f"{path} is a register of version {version}, {SCHEMA_VERSION} is read here")

    def used(self) -> bool:
        """Anybody was ever invited or registered."""
        with _writing():
            return self._db.execute("SELECT 1 FROM parties").fetchone() is not None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Everything done inside is on the disk afterwards; if anything is raised, nothing is.

        Raises Exhausted when the register cannot be written, Failed when it cannot be read.
        """
        with _writing():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(self._db)
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self._db.close()


_FULL = frozenset({"SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN"})
_DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


@contextmanager
def _damage(path: str | Path) -> Iterator[None]:
    """A file that will not be another one when it is tried again is a ConfigError."""
    try:
        yield
    except Failed as e:
        if any(name in e.message for name in _DAMAGED):
            raise ConfigError(
                f"{path} is damaged",
                reason=e.message,
                hint="restore it from a backup, or move the whole directory away and enrol everybody again",
            ) from None
        raise


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        code = getattr(e, "sqlite_errorname", "")
        why = f"{e}" if not code else f"{e} ({code})"
        if code in _FULL or code.startswith("SQLITE_IOERR"):
            raise Exhausted(
                f"authority cannot write its register: {why}", hint="make room on its disk; nothing was changed"
            ) from None
        raise Failed(f"authority cannot use its register: {why}") from None


class Transaction:
    """One message's view of the register; see protocol.authority.Transaction and registrar.Transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def _next(self, counter: str) -> int:
        row = self._db.execute("UPDATE counters SET next = next + 1 WHERE name = ? RETURNING next - 1", (counter,))
        (value,) = row.fetchone()
        if value >= _COUNTER_MAX:
            raise Exhausted(f"the register has no {counter} left")
        return int(value)

    def next_serial(self) -> int:
        return self._next("serial")

    def next_key_number(self) -> int:
        return self._next("key_number")

    # ---- parties and tokens ----------------------------------------------------------------------------------

    def party_id(self, role: str, name: str) -> bytes | None:
        row = self._db.execute("SELECT id FROM parties WHERE role = ? AND name = ?", (role, name)).fetchone()
        return None if row is None else row[0]

    def add_party(self, role: str, name: str, id: bytes) -> None:
        self._db.execute("INSERT INTO parties (id, role, name) VALUES (?, ?, ?)", (id, role, name))

    def issue_token(self, role: str, id: bytes, sealed: bytes, expires: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?)", (id, role, sealed, expires))

    def token(self, id: bytes) -> Token | None:
        row = self._db.execute(
            "SELECT role, sealed, expires FROM tokens WHERE id = ? AND sealed IS NOT NULL", (id,)
        ).fetchone()
        return None if row is None else Token(*row)

    def token_issued(self, id: bytes) -> bool:
        return self._db.execute("SELECT 1 FROM tokens WHERE id = ?", (id,)).fetchone() is not None

    def use_token(self, id: bytes) -> None:
        self._db.execute("UPDATE tokens SET sealed = NULL WHERE id = ?", (id,))

    def parties(self, now: int) -> list[Party]:
        rows = self._db.execute(
            "SELECT p.role, p.name, p.id, p.revoked, c.serial, c.exp FROM parties p"
            " LEFT JOIN certificates c ON c.id = p.id AND c.state = 'valid' ORDER BY p.role, p.name"
        )
        return [
            Party(role, name, id, serial, _state(bool(revoked), exp, now), exp)
            for role, name, id, revoked, serial, exp in rows
        ]

    def revoke(self, id: bytes) -> bool:
        if not self._db.execute("UPDATE parties SET revoked = 1 WHERE id = ?", (id,)).rowcount:
            return False
        self._db.execute("UPDATE certificates SET state = 'revoked' WHERE id = ? AND state = 'valid'", (id,))
        self.use_token(id)
        return True

    # ---- certificates ----------------------------------------------------------------------------------------

    def certificate(self, id: bytes) -> CertificateRow | None:
        row = self._db.execute(
            "SELECT serial, role, pkE, pkS, nbf, exp FROM certificates WHERE id = ? AND state = 'valid'", (id,)
        ).fetchone()
        return None if row is None else CertificateRow(*row)

    def certify(self, c: Certificate, statement: bytes) -> None:
        self._db.execute("UPDATE certificates SET state = 'replaced' WHERE id = ? AND state = 'valid'", (c.id_x,))
        self._db.execute(
            "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'valid')",
            (c.serial, c.id_x, c.role, c.id_d, c.pkE_x, c.pkS_x, c.nbf, c.exp, statement),
        )
        self._db.execute("UPDATE parties SET revoked = 0 WHERE id = ?", (c.id_x,))
        # What the old key signed verifies no more, so its nonces need not be remembered.
        self._db.execute("DELETE FROM nonces WHERE id = ? AND signer != ?", (c.id_x, _signer(c.pkS_x)))

    # ---- keys ------------------------------------------------------------------------------------------------

    def keys(self, id_u: bytes) -> list[KeyRow]:
        rows = self._db.execute("SELECT serial, alg, usage, kcv, revoked FROM keys WHERE id_u = ?", (id_u,))
        return [KeyRow(serial, alg, usage, kcv, bool(revoked)) for serial, alg, usage, kcv, revoked in rows]

    def add_key(self, id_u: bytes, name: str, row: KeyRow, r_K: bytes) -> None:
        self._db.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (row.serial, id_u, name, row.alg, row.usage, row.kcv, r_K, int(row.revoked)),
        )

    def revoke_key(self, serial: int) -> None:
        self._db.execute("UPDATE keys SET revoked = 1 WHERE serial = ?", (serial,))

    def add_holder(self, serial: int, id_c: bytes) -> None:
        self._db.execute("INSERT OR IGNORE INTO holders VALUES (?, ?)", (serial, id_c))

    def holders(self, serial: int) -> list[bytes]:
        return [id_c for (id_c,) in self._db.execute("SELECT id_c FROM holders WHERE serial = ?", (serial,))]

    # ---- nonces and sessions ---------------------------------------------------------------------------------

    def spend_nonce(self, id: bytes, nonce: bytes) -> bool:
        (run,) = self._db.execute("UPDATE parties SET runs = runs + 1 WHERE id = ? RETURNING runs", (id,)).fetchone()
        certificate = self.certificate(id)
        signer = b"" if certificate is None else _signer(certificate.pkS)
        new = self._db.execute(
            "INSERT OR IGNORE INTO nonces VALUES (?, ?, ?, ?)", (id, nonce[:_NONCE_KEPT], signer, run)
        ).rowcount
        self._db.execute("DELETE FROM nonces WHERE id = ? AND run <= ?", (id, run - NONCES_MAX))
        return bool(new)

    def add_session(self, sid: bytes, row: SessionRow) -> None:
        self._db.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sid, row.id_u, row.id_c, row.serial_u, row.serial_c, row.exp, int(row.used)),
        )

    def session(self, sid: bytes) -> SessionRow | None:
        row = self._db.execute(
            "SELECT id_u, id_c, serial_u, serial_c, exp, used FROM sessions WHERE sid = ?", (sid,)
        ).fetchone()
        if row is None:
            return None
        id_u, id_c, serial_u, serial_c, exp, used = row
        return SessionRow(id_u, id_c, serial_u, serial_c, exp, bool(used))

    def use_session(self, sid: bytes) -> None:
        self._db.execute("UPDATE sessions SET used = 1 WHERE sid = ?", (sid,))

    def prune_sessions(self, now: int) -> None:
        """Expired sids are forgotten: an unknown sid is refused like an expired one."""
        self._db.execute("DELETE FROM sessions WHERE exp <= ?", (now,))


def _state(revoked: bool, exp: int | None, now: int) -> str:
    if revoked:
        return "revoked"
    if exp is None:
        return "invited"
    return "registered" if now < exp else "expired"


def _signer(sign_key: bytes) -> bytes:
    return h(sign_key)[:_SIGNER_KEPT]
