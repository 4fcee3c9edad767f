"""R1 and R4, further keys, and the two files. From docs/protocol.md, "Registration", "Further keys" and "Files"."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .control import Control
from .encoding import dec, demand, enc, kcv, mac, number, u32
from .frames import KEY, KEYREV, REGISTER
from .hpke import Keys, seal, verifies

NONCE = 32


def signed_fields(check: str, authority: bytes, label: str, statement: bytes, count: int) -> list[bytes]:
    """The fields of a statement of the authority: first its signature over them as they stand, then they are read."""
    whole, signature = dec(statement, 2, check)
    fields = dec(whole, count, check)
    demand(verifies(authority, signature, label, *fields), check, f'the authority\'s signature, label "{label}"')
    return fields


@dataclass(frozen=True)
class Record:
    """What a guest keeps of a registered key: everything but the key."""

    name: str
    alg: str
    usage: int
    kcv: bytes
    r_k: bytes

    @classmethod
    def of(cls, key: bytes, id_u: bytes, name: str, alg: str, usage: int) -> Record:
        """A record with an r_K of its own."""
        r_k = secrets.token_bytes(NONCE)
        return cls(name, alg, usage, kcv(key, id_u, alg, usage, r_k), r_k)


@dataclass(frozen=True)
class Enrolment:
    """The enrolment file, in either of its two forms."""

    id: bytes
    token: bytes
    ca_sign: bytes
    ca_seal: bytes
    card: bytes | None

    @classmethod
    def read(cls, form: Mapping[str, Any]) -> Enrolment:
        """From the file's JSON, or what `token new` answers."""
        ca = form.get("ca") or {"sign_key": form["ca_sign_key"], "seal_key": form["ca_seal_key"]}
        card = form["card"]["id"] if form.get("card") else form.get("card_id")
        return cls(
            bytes.fromhex(form["id"]),
            bytes.fromhex(form["token"]),
            bytes.fromhex(ca["sign_key"]),
            bytes.fromhex(ca["seal_key"]),
            bytes.fromhex(card) if card else None,
        )


@dataclass
class Identity:
    """The identity file."""

    id: bytes
    keys: Keys
    certificate: bytes
    ca_sign: bytes
    ca_seal: bytes
    registered: list[Record] = field(default_factory=list)
    card: dict[str, str] | None = None

    def write(self, path: Path) -> None:
        """The file is there, 0600."""
        form: dict[str, Any] = {
            "schema": 1,
            "role": "user",
            "id": self.id.hex(),
            "name": "",
            "keys": {"sign": self.keys.sign_seed.hex(), "seal": self.keys.seal_seed.hex()},
            "certificate": self.certificate.hex(),
            "ca": {"sign_key": self.ca_sign.hex(), "seal_key": self.ca_seal.hex()},
            "registered": [
                {"name": r.name, "alg": r.alg, "usage": r.usage, "kcv": r.kcv.hex(), "r_K": r.r_k.hex()}
                for r in self.registered
            ],
        }
        if self.card:
            form["card"] = self.card
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(form, file)

    @classmethod
    def read(cls, path: Path) -> Identity:
        """What the file holds; its certificate is of its keys and valid."""
        form = json.loads(path.read_text())
        assert form["schema"] == 1 and form["role"] == "user", form
        identity = cls(
            bytes.fromhex(form["id"]),
            Keys(bytes.fromhex(form["keys"]["sign"]), bytes.fromhex(form["keys"]["seal"])),
            bytes.fromhex(form["certificate"]),
            bytes.fromhex(form["ca"]["sign_key"]),
            bytes.fromhex(form["ca"]["seal_key"]),
            [
                Record(r["name"], r["alg"], r["usage"], bytes.fromhex(r["kcv"]), bytes.fromhex(r["r_K"]))
                for r in form["registered"]
            ],
            form.get("card"),
        )
        check_certificate(identity.certificate, identity.ca_sign, identity.id, identity.keys)
        return identity


def check_certificate(certificate: bytes, ca_sign: bytes, id_u: bytes, keys: Keys, nonce: bytes | None = None) -> None:
    """R4.3 to R4.9; the nonce is known at registration alone."""
    got = signed_fields("R4.3", ca_sign, "cert", certificate, 9)
    role, id_x, _id_d, pk_e, pk_s, n_x, _serial, nbf, exp = got
    demand(role == b"user", "R4.4", "own role")
    demand(id_x == id_u, "R4.5", "own id")
    demand(pk_e == keys.pk_e, "R4.6", "own pkE")
    demand(pk_s == keys.pk_s, "R4.7", "own pkS")
    demand(nonce is None or n_x == nonce, "R4.8", "own n_x")
    demand(number(nbf, 8, "R4.9") <= time.time() < number(exp, 8, "R4.9"), "R4.9", "valid now")


def message_1(enrolment: Enrolment, keys: Keys, nonce: bytes, record: Record) -> bytes:
    """R1 of a user."""
    r = (
        b"user",
        enrolment.id,
        keys.pk_e,
        keys.pk_s,
        nonce,
        record.alg.encode("ascii"),
        u32(record.usage),
        record.kcv,
        record.r_k,
    )
    plain = enc(enc(*r), keys.sign("reg", *r), mac(enrolment.token, "regtok", *r))
    return enc(b"user", enrolment.id, seal(enrolment.ca_seal, "reg", (b"user", enrolment.id), plain))


def message_4(body: bytes, enrolment: Enrolment, keys: Keys, nonce: bytes) -> bytes:
    """The certificate out of R4, every check done."""
    id_x, blob = dec(body, 2, "R4")
    demand(id_x == enrolment.id, "R4.1", "for another id")
    certificate = keys.open("R4.2", "cert", (id_x, nonce), blob)
    check_certificate(certificate, enrolment.ca_sign, enrolment.id, keys, nonce)
    return certificate


def register(
    control: Control, form: Mapping[str, Any], key: bytes, alg: str = "AES-256-GCM", usage: int = 3, suite: int = 2
) -> Identity:
    """Registered, with a first key; the token is used up."""
    enrolment = Enrolment.read(form)
    keys, nonce = Keys.new(suite), secrets.token_bytes(NONCE)
    record = Record.of(key, enrolment.id, "", alg, usage)
    answer = control.ask(REGISTER, message_1(enrolment, keys, nonce, record))
    certificate = message_4(answer, enrolment, keys, nonce)
    card = {"name": "", "id": enrolment.card.hex()} if enrolment.card else None
    return Identity(enrolment.id, keys, certificate, enrolment.ca_sign, enrolment.ca_seal, [record], card)


def key_request(identity: Identity, record: Record, nonce: bytes) -> bytes:
    """The sealed registration of a further key."""
    fields = (
        identity.id,
        nonce,
        record.name.encode(),
        record.alg.encode("ascii"),
        u32(record.usage),
        record.kcv,
        record.r_k,
    )
    plain = enc(*fields, identity.keys.sign("key", *fields))
    return enc(identity.id, seal(identity.ca_seal, "key", (identity.id,), plain))


def register_key(control: Control, identity: Identity, key: bytes, name: str, alg: str, usage: int) -> Record:
    """A further key is registered, and in the identity."""
    record = Record.of(key, identity.id, name, alg, usage)
    nonce = secrets.token_bytes(NONCE)
    answer = control.ask(KEY, key_request(identity, record, nonce))
    id_u, n_u, *asked, serial = signed_fields("KR.1", identity.ca_sign, "keyreg", answer, 7)
    demand(id_u == identity.id, "KR.2", "own id")
    demand(n_u == nonce, "KR.3", "own n_u")
    wanted = [name.encode(), alg.encode("ascii"), u32(usage), record.kcv]
    demand(asked == wanted, "KR.4", "not what was asked for")
    number(serial, 8, "keyreg")
    identity.registered.append(record)
    return record


def keyrev_request(identity: Identity, check_value: bytes, nonce: bytes) -> bytes:
    """The sealed revocation of a key."""
    fields = (identity.id, nonce, check_value)
    plain = enc(*fields, identity.keys.sign("keyrev", *fields))
    return enc(identity.id, seal(identity.ca_seal, "keyrev", (identity.id,), plain))


def revoke_key(control: Control, identity: Identity, record: Record) -> int:
    """The key is revoked; the serial of the authority's statement."""
    answer = control.ask(KEYREV, keyrev_request(identity, record.kcv, secrets.token_bytes(NONCE)))
    id_u, check_value, serial = signed_fields("KV.1", identity.ca_sign, "keyrev", answer, 3)
    demand(id_u == identity.id, "KV.2", "own id")
    demand(hmac.compare_digest(check_value, record.kcv), "KV.3", "kcv")
    identity.registered = [each for each in identity.registered if each.kcv != record.kcv]
    return number(serial, 8, "keyrev")
