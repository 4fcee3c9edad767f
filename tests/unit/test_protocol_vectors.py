"""Known answers of the encodings, signatures, MACs and seals: tests/vectors/protocol, each with its origin."""

from pathlib import Path

import pytest

from vecd.base.errors import Integrity, Malformed
from vecd.protocol import suites
from vecd.protocol.encoding import dec

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "protocol"
HEADERS = {
    "dec": {"fields"},
    "sign": {"label", "sign_seed", "sign_key"},
    "verify": {"label", "sign_key", "signature"},
    "mac": {"label", "key"},
    "open": {"label", "context", "sign_seed", "seal_seed", "seal_key"},
}


def read(path):
    head, _, body = path.read_bytes().partition(b"\n\n")
    header = dict(line.split(":", 1) for line in head.decode().splitlines())
    header = {key: value.strip() for key, value in header.items()}
    assert set(header) == HEADERS[header["operation"]] | {"origin", "operation", "expect"}
    return header, body


def _hex(header, *names):
    return (bytes.fromhex(header[name]) for name in names)


def _dec(header, body):
    try:
        return ",".join(field.hex() for field in dec(body, int(header["fields"])))
    except Malformed:
        return "EMALFORMED"


def _sign(header, body):
    seed, key = _hex(header, "sign_seed", "sign_key")
    other = suites.generate(seed[0])
    keys = suites.PrivateKeys(seed, other.seal_seed)
    assert keys.sign_key == key
    signature = suites.sign(keys, header["label"], body)
    assert suites.verified(key, header["label"], body, signature)
    return signature.hex()


def _verify(header, body):
    key, signature = _hex(header, "sign_key", "signature")
    return "ok" if suites.verified(key, header["label"], body, signature) else "refused"


def _mac(header, body):
    return suites.mac(bytes.fromhex(header["key"]), header["label"], body).hex()


def _open(header, body):
    context, sign_seed, seal_seed, seal_key = _hex(header, "context", "sign_seed", "seal_seed", "seal_key")
    keys = suites.PrivateKeys(sign_seed, seal_seed)
    assert keys.seal_key == seal_key
    try:
        return suites.open_(keys, header["label"], context, body).hex()
    except Integrity:
        return "EINTEGRITY"


OPERATIONS = {"dec": _dec, "sign": _sign, "verify": _verify, "mac": _mac, "open": _open}


@pytest.mark.parametrize("path", sorted(VECTORS.iterdir()), ids=lambda path: path.name)
def test_known_answer(path):
    header, body = read(path)
    assert OPERATIONS[header["operation"]](header, body) == header["expect"]
