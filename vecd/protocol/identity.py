"""What a party is and what it was invited with, as JSON. The owner of the file reads and writes it.

An *invitation* is the operator's word for a party: role, id, one-time token, the authority's keys. An *identity* is
what the party has made of it: its seeds, its certificate, for a user also its registered keys. Both files are 0600.
A card's seeds are not in its JSON: they stand in a file of their own, so that they never become Python's text, and
whoever reads that file lends them (suites.LentKeys). docs/protocol.md, "Files".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vecd.base.errors import Malformed, VecError

from .messages import ID_SIZE, NONCE_SIZE, ROLES, Certificate, KcvInput, opened, pack
from .suites import Keys, PrivateKeys, check_keys, mac

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class CaKeys:
    """The authority's public keys; whoever was invited trusts these and no others."""

    sign_key: bytes
    seal_key: bytes


@dataclass(frozen=True, slots=True)
class Invitation:
    """Out of band, "message 0"; also called the enrolment file. `card_id` is the card to pin, where one was named."""

    role: str
    id: bytes
    name: str
    token: bytes = field(repr=False)
    expires: int
    ca: CaKeys
    card_id: bytes | None = None
    card_name: str = ""

    def to_json(self) -> str:
        """The nested form."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "role": self.role,
            "id": self.id.hex(),
            "name": self.name,
            "token": self.token.hex(),
            "expires": self.expires,
            "ca": {"sign_key": self.ca.sign_key.hex(), "seal_key": self.ca.seal_key.hex()},
        }
        if self.card_id is not None:
            document["card"] = {"name": self.card_name, "id": self.card_id.hex()}
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, role: str = "", name: str = "") -> Invitation:
        """Reads the nested form and the flat one that token.new answers; role and name where the file has none.

        Raises Malformed naming the field.
        """
        d = _document(text, "the enrolment file")
        ca = d.get("ca", {"sign_key": d.get("ca_sign_key"), "seal_key": d.get("ca_seal_key")})
        card = d.get("card", {"id": d["card_id"]} if d.get("card_id") else None)
        expires = d.get("expires")
        if not isinstance(expires, int) or isinstance(expires, bool):
            raise Malformed("the enrolment file: expires is not a number of seconds")
        return cls(
            role=_role(d.get("role", role)),
            id=_hex(d, "id", ID_SIZE),
            name=_text(d.get("name", name), "name"),
            token=_hex(d, "token", NONCE_SIZE),
            expires=expires,
            ca=_ca(ca),
            card_id=_hex(_object(card, "card"), "id", ID_SIZE) if card is not None else None,
            card_name=_text(card.get("name", ""), "card.name") if card is not None else "",
        )


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A registered key as its user knows it: everything but K."""

    name: str
    alg: str
    usage: int
    kcv: bytes
    r_K: bytes

    def fits(self, id_u: bytes, secret: bytes | memoryview) -> bool:
        """This secret is the key of this record."""
        return kcv_of(secret, id_u, self.alg, self.usage, self.r_K) == self.kcv


def kcv_of(secret: bytes | memoryview, id_u: bytes, alg: str, usage: int, r_K: bytes) -> bytes:
    """HMAC-SHA256(K, "vEC-PPM/v1/kcv" || 0 || enc(id_u, alg, usage, r_K))."""
    return mac(secret, "kcv", pack(KcvInput(id_u, alg, usage, r_K)))


@dataclass(frozen=True, slots=True)
class Identity:
    """A party that is registered. `certificate` is C as the authority signed it; `registered` are a user's keys."""

    role: str
    id: bytes
    name: str
    keys: Keys
    certificate: bytes
    ca: CaKeys
    registered: tuple[KeyRecord, ...] = ()
    card_id: bytes | None = None
    card_name: str = ""

    def read_certificate(self) -> Certificate:
        """The certificate's fields, after its signature. Raises ProtocolRefused."""
        return opened(Certificate, self.certificate, self.ca.sign_key, "cert", "registration 4")

    def with_key(self, record: KeyRecord) -> Identity:
        return replace(self, registered=(*(r for r in self.registered if r.kcv != record.kcv), record))

    def without_key(self, kcv: bytes) -> Identity:
        return replace(self, registered=tuple(r for r in self.registered if r.kcv != kcv))

    def record_of(self, secret: bytes | memoryview) -> KeyRecord | None:
        """The registered key that this secret is."""
        return next((r for r in self.registered if r.fits(self.id, secret)), None)

    def to_json(self) -> str:
        """With the seeds where this party keeps them itself, without a secret where they are lent."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "role": self.role,
            "id": self.id.hex(),
            "name": self.name,
            "certificate": self.certificate.hex(),
            "ca": {"sign_key": self.ca.sign_key.hex(), "seal_key": self.ca.seal_key.hex()},
            "registered": [
                {"name": r.name, "alg": r.alg, "usage": r.usage, "kcv": r.kcv.hex(), "r_K": r.r_K.hex()}
                for r in self.registered
            ],
        }
        if isinstance(self.keys, PrivateKeys):
            document["keys"] = {"sign": self.keys.sign_seed.hex(), "seal": self.keys.seal_seed.hex()}
        if self.card_id is not None:
            document["card"] = {"name": self.card_name, "id": self.card_id.hex()}
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, keys: Keys | None = None) -> Identity:
        """Raises Malformed naming the field; also where the certificate is not of these keys or this authority.

        keys: those whose seeds are lent; without them the file has to have them.
        """
        d = _document(text, "the identity file")
        card = d.get("card")
        records = d.get("registered", [])
        if not isinstance(records, list):
            raise Malformed("the identity file: registered is not a list")
        identity = cls(
            role=_role(d.get("role")),
            id=_hex(d, "id", ID_SIZE),
            name=_text(d.get("name", ""), "name"),
            keys=keys or _kept(_object(d.get("keys"), "keys")),
            certificate=_hex(d, "certificate"),
            ca=_ca(d.get("ca")),
            registered=tuple(_record(_object(r, "registered")) for r in records),
            card_id=_hex(_object(card, "card"), "id", ID_SIZE) if card is not None else None,
            card_name=_text(card.get("name", ""), "card.name") if card is not None else "",
        )
        try:
            c = identity.read_certificate()
        except VecError as e:
            raise Malformed("the identity file: the certificate is not this authority's", reason=e.reason) from None
        mine = (identity.role, identity.id, identity.keys.seal_key, identity.keys.sign_key)
        if (c.role, c.id_x, c.pkE_x, c.pkS_x) != mine:
            raise Malformed("the identity file: the certificate is not of this party and these keys")
        return identity


def _kept(d: Mapping[str, Any]) -> PrivateKeys:
    return PrivateKeys(_hex(d, "sign"), _hex(d, "seal"))


def _record(d: Mapping[str, Any]) -> KeyRecord:
    usage = d.get("usage")
    if not isinstance(usage, int) or isinstance(usage, bool) or not 0 <= usage < 2**32:
        raise Malformed("usage is not a bit mask")
    return KeyRecord(
        _text(d.get("name", ""), "name"),
        _text(d.get("alg"), "alg"),
        usage,
        _hex(d, "kcv", NONCE_SIZE),
        _hex(d, "r_K", NONCE_SIZE),
    )


def _document(text: str | bytes, what: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # The parser's own words would quote the file, and a token or a seed with it.
        raise Malformed(f"{what} is not JSON") from None
    if _object(document, what).get("schema", SCHEMA) != SCHEMA:
        raise Malformed(f"{what} has another schema", reason=f"schema {SCHEMA} is read here")
    return _object(document, what)


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not an object")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{what} is not a string")
    return value


def _role(value: Any) -> str:
    if value not in ROLES:
        raise Malformed(f"role is none of {', '.join(ROLES)}")
    return str(value)


def _hex(d: Mapping[str, Any], name: str, size: int | None = None) -> bytes:
    try:
        value = bytes.fromhex(d[name])
    except (KeyError, TypeError, ValueError):
        raise Malformed(f"{name} is missing or not hex") from None
    if size is not None and len(value) != size:
        raise Malformed(f"{name} has {len(value)} bytes, not {size}")
    return value


def _ca(value: Any) -> CaKeys:
    d = _object(value, "ca")
    ca = CaKeys(_hex(d, "sign_key"), _hex(d, "seal_key"))
    check_keys(ca.seal_key, ca.sign_key)
    return ca
