"""
The literal messages of Xu et al. 2017, section IV, and what each party does with them; corrections are other messages.

Numbers are the paper's; R1 to R4 are registration. "User" and "Card" are what a party is called there, the hash of a
public identity marker: here the party itself. Dom0 passes things on, so it is the attacker, and what it would encrypt
for the authority the attacker encrypts. T is a time stamp that is not checked against anything, which is what the paper
assumes (#(T_CA)).

A party is a list of steps: it sends a message, takes one, learns a value (`let`) or draws one (`new`), or holds what it
has against the register (`check`).
"""

from typing import NamedTuple


class Protocol(NamedTuple):
    """Messages by number, and for each role its steps, in order."""

    messages: dict[str, str]
    roles: dict[str, tuple[str, ...]]


LITERAL = Protocol(
    messages={
        "1": "[u]_u",
        "2": "[c]_c",
        "3": "{[u]_u, [c]_c}_CA",
        "5": "{[ok, T]_CA}_c",
        "6": "{[ok, P, T]_CA}_u",
        "7": "u, {K}_P",
        "8": "u, h(K)",
        "9": "{v, h(K)}_CA",
        "11": "{[ok, T']_CA}_c",
        "12": "{[N, T']_CA}_v",
    },
    roles={
        "user": ("send 1", "take 6", "send 7", "take 12"),
        "card": ("send 2", "take 5", "take 7", "send 8", "take 11"),
        # That message 9 is about the user of message 3 is nowhere in the text: it is about the one it names.
        "authority": (
            "take 3", "check registered u", "check registered c", "let P = pk(c)", "new T", "send 5", "send 6",
            "take 9", "check key v K", "new T'", "new N", "send 11", "send 12",
        ),
    },
)  # fmt: skip

REGISTRATION = Protocol(
    messages={"R1": "i, P", "R2": "{d, i, P}_CA", "R3": "{[i, P, T]_CA}_P"},
    roles={"authority": ("take R2", "new T", "send R3"), "card": ("send R1", "take R3")},
)


def changed(protocol: Protocol, messages: dict[str, str] | None = None, **roles: tuple[str, ...]) -> Protocol:
    """The protocol with other messages and other steps."""
    return Protocol(protocol.messages | (messages or {}), protocol.roles | roles)


def after(steps: tuple[str, ...], step: str, *more: str) -> tuple[str, ...]:
    """The steps with some more behind one of them; ValueError when it is not there."""
    place = steps.index(step) + 1
    return (*steps[:place], *more, *steps[place:])


_USER, _CARD, _AUTHORITY = (LITERAL.roles[role] for role in ("user", "card", "authority"))

# The card is told by Dom0 who the user is (0), before it signs.
PAIR = {"0": "u", "1": "[u, c]_u", "2": "[c, u]_c", "3": "{[u, c]_u, [c, u]_c}_CA"}
TOLD = ("take 0", *_CARD)

FIXES: dict[str, Protocol] = {
    # Both names in what both sign, and in what the authority says of them.
    "L1": changed(LITERAL, PAIR | {"5": "{[ok, u, c, T]_CA}_c", "6": "{[ok, u, c, P, T]_CA}_u"}, card=TOLD),
    # The register knows what somebody is.
    "L2": changed(LITERAL, authority=after(_AUTHORITY, "check registered c", "check role u user", "check role c card")),
    # 7 signed by the user, 8 by the card, the result names user, card and key: for that each knows the other by L1's.
    "L3": changed(
        LITERAL,
        PAIR
        | {
            "5": "{[ok, u, c, T]_CA}_c",
            "6": "{[ok, u, c, P, T]_CA}_u",
            "7": "u, {K}_P, [u, c, {K}_P]_u",
            "8": "u, h(K), [u, c, h(K)]_c",
            "9": "{u, h(K), [u, c, h(K)]_c}_CA",
            "11": "{[ok, u, c, h(K), T']_CA}_c",
            "12": "{[N, T']_CA}_u",
        },
        card=TOLD,
        authority=tuple(step.replace("check key v K", "check key u K") for step in _AUTHORITY),
    ),
    # Whose key it is stands beside it, under the encryption.
    "L4": changed(LITERAL, {"7": "u, {K, u}_P"}),
    # 8 signed by the card.
    "L5": changed(LITERAL, {"8": "u, h(K), [u, h(K)]_c", "9": "{v, h(K), [v, h(K)]_c}_CA"}),
    # A nonce of the card in its request and in the answer, a session in everything after.
    "L6": changed(
        LITERAL,
        {
            "2": "[c, n]_c",
            "3": "{[u]_u, [c, n]_c}_CA",
            "5": "{[ok, n, S, T]_CA}_c",
            "6": "{[ok, P, S, T]_CA}_u",
            "7": "u, {K, S}_P",
            "11": "{[ok, S, T']_CA}_c",
        },
        card=("new n", *_CARD),
        authority=after(_AUTHORITY, "new T", "new S"),
    ),
    # A word in every statement that says what it is about.
    "L8": changed(LITERAL, {"5": "{[ver, T]_CA}_c", "6": "{[ver, P, T]_CA}_u", "11": "{[keyok, T']_CA}_c"}),
    # Whom it is for, inside the signature.
    "L10": changed(LITERAL, {"6": "{[ok, u, P, T]_CA}_u"}),
    # One statement for both, about the key.
    "L12": changed(LITERAL, {"11": "{[ok, v, N, h(K), T']_CA}_c", "12": "{[ok, v, N, h(K), T']_CA}_v"}),
}
FIXES["L7"] = FIXES["L1"]


def mended(protocol: Protocol, *attacks: str) -> Protocol:
    """The protocol with roles known to the register (L2), or a word in every statement (L8), beside what it has."""
    messages, authority = dict(protocol.messages), protocol.roles["authority"]
    if "L8" in attacks:
        for number, word in (("5", "ver"), ("6", "ver"), ("11", "keyok"), ("12", "keyok")):
            messages[number] = messages[number].replace("ok,", f"{word},")
    if "L2" in attacks and "check role u user" not in authority:
        authority = after(authority, "check registered c", "check role u user", "check role c card")
    return changed(protocol, messages, authority=authority)


# All of it at once: docs/protocol.md, with one statement for both and without what only bounds time. n3 is r_K.
_VERIFIED = "[ver, u, c, P, n1, n2, S]_CA"
_LOADED = "[keyok, S, u, c, N, mac(K, u, n3)]_CA"
CORRECTED = Protocol(
    messages={
        "0": "u",
        "1": "[u, c, n1]_u",
        "2": "[c, u, n2]_c",
        "3": "{[u, c, n1]_u, [c, u, n2]_c}_CA",
        "5": f"{{{_VERIFIED}}}_c",
        "6": f"{{{_VERIFIED}}}_u",
        "7": "S, u, c, {K, n3, S, u, c}_P, [S, u, c, {K, n3, S, u, c}_P]_u",
        "8": "{S, u, c, mac(K, u, n3), [S, u, c, mac(K, u, n3)]_c}_CA",
        "11": f"{{{_LOADED}}}_c",
        "12": f"{{{_LOADED}}}_u",
    },
    roles={
        "user": ("new n1", "send 1", "take 6", "new n3", "send 7", "take 12"),
        "card": ("new n2", "take 0", "send 2", "take 5", "take 7", "send 8", "take 11"),
        "authority": (
            "take 3", "check registered u", "check registered c", "check role u user", "check role c card",
            "let P = pk(c)", "new S", "send 5", "send 6", "take 8", "check key u K", "new N", "send 11", "send 12",
        ),
    },
)  # fmt: skip

# A user registers the hash of its key, and nothing shows that it has the key: corrected, the user stands in what it is.
USER_REGISTRATION = Protocol(
    messages={"R2": "{d, i, P, h(K)}_CA", "R3": "{[i, P, T]_CA}_P"},
    roles={"authority": ("take R2", "new T", "send R3")},
)
OWN_KEY = changed(USER_REGISTRATION, {"R2": "{d, i, P, mac(K, i, n)}_CA"})

# A secret of whoever may register as i, and a signature with the key that is registered.
PROVED = changed(
    REGISTRATION,
    {
        "R1": "i, P, Q, [i, P, Q]_Q, mac(tok(i), i, P, Q)",
        "R2": "{d, i, P, Q, [i, P, Q]_Q, mac(tok(i), i, P, Q)}_CA",
        "R3": "{[i, P, Q, T]_CA}_P",
    },
)
