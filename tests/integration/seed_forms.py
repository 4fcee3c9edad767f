"""Every form in which a card's seeds could stand in memory: as bytes, as hex, and as what the algorithms make of them.

Suite 2: Ed25519 (RFC 8032, 5.1.5), ML-KEM-768 (FIPS 203, algorithms 9, 8, 13) and X25519 (RFC 7748, 5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

SUITE, SIZE = 2, 1 + 32 + 64 + 32
_Q, _DEGREE, _RANK = 3329, 256, 3


def forms(seeds: bytes) -> dict[str, bytes]:
    """By name, what must not stand outside the arena; `seeds` is the content of identity.seeds."""
    assert seeds[0] == SUITE and len(seeds) == SIZE
    ed25519, d, z, x25519 = seeds[1:33], seeds[33:65], seeds[65:97], seeds[97:]
    expanded = hashlib.sha512(ed25519).digest()
    sigma = hashlib.sha3_512(d + bytes([_RANK])).digest()[32:]
    secret = [_ntt(_noise(sigma, row)) for row in range(_RANK)]
    kept = {"Ed25519 seed": ed25519, "X25519 key": x25519, "ML-KEM d": d, "ML-KEM z": z}
    found = {
        **kept,
        **{f"{name}, hex": seed.hex().encode() for name, seed in kept.items()},
        "Ed25519 scalar, unclamped": expanded[:32],
        "Ed25519 scalar": _clamped(expanded[:32]),
        "Ed25519 prefix": expanded[32:],
        "X25519 scalar": _clamped(x25519),
        "ML-KEM sigma": sigma,
    }
    for row, coefficients in enumerate(secret):
        found[f"ML-KEM s[{row}], 16 bits each"] = b"".join(c.to_bytes(2, "little") for c in coefficients)
        found[f"ML-KEM s[{row}], 12 bits each"] = b"".join(_packed(coefficients))
    return found


def needles(form: bytes) -> tuple[bytes, ...]:
    """Both ends: a freed block loses its first bytes to the allocator."""
    return form[:16], form[-16:]


def _clamped(scalar: bytes) -> bytes:
    return bytes([scalar[0] & 248, *scalar[1:31], scalar[31] & 127 | 64])


def _noise(sigma: bytes, row: int) -> list[int]:
    """SamplePolyCBD with eta 2 of PRF(sigma, row)."""
    stream = hashlib.shake_256(sigma + bytes([row])).digest(_DEGREE // 2)
    nibbles = [nibble for byte in stream for nibble in (byte & 15, byte >> 4)]
    return [((n & 1) + (n >> 1 & 1) - (n >> 2 & 1) - (n >> 3)) % _Q for n in nibbles]


def _ntt(f: list[int]) -> list[int]:
    f, index, length = list(f), 1, _DEGREE // 2
    while length >= 2:
        for start in range(0, _DEGREE, 2 * length):
            zeta = pow(17, int(f"{index:07b}"[::-1], 2), _Q)
            index += 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % _Q
                f[j + length], f[j] = (f[j] - t) % _Q, (f[j] + t) % _Q
        length //= 2
    return f


def _packed(coefficients: list[int]) -> Iterator[bytes]:
    for low, high in zip(coefficients[::2], coefficients[1::2], strict=True):
        yield (low | high << 12).to_bytes(3, "little")
