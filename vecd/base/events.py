"""Every event that a service logs: name, MESSAGE_ID, priority, sentence. A log line is one of these, never free text.

The ids were drawn once (systemd-id128 new) and never change; the sentence is filled from the fields of the event.
"""

from __future__ import annotations

from dataclasses import dataclass

# Priorities of syslog(3): err for what we give up, warning for "..., ignoring" and refused peers, notice for
# decisions and changes, info for the life of a thing.
ERR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    message_id: str
    priority: int
    sentence: str


# -- the life of a process
STARTING = Event("STARTING", "48bc0239cb42485db152e0d775e9b6f3", INFO, "{role} starts")
READY = Event("READY", "50731f926467407896bb1086b6371504", NOTICE, "{role} is ready: {reason}")
STOPPING = Event("STOPPING", "6cd9aa51a64641a18a223ac415b2bced", INFO, "{role} stops: {reason}")
FAILED = Event("FAILED", "10de697447d14793aed3b9d1b5495b97", ERR, "{role} gives up: {reason}")
BUG = Event("BUG", "974ebf78c1744411850f116294d7367b", ERR, "our own mistake in {what}: {reason}")
CONFIG = Event("CONFIG", "6f68fcd875a94fbc83227afe49bd41e1", INFO, "configuration read: {what}")
LOCKED_DOWN = Event("LOCKED_DOWN", "e92e42b473aa4457ac71af3cef099c51", INFO, "{role} is locked down: {what}")
NOT_LOCKED_DOWN = Event(
    "NOT_LOCKED_DOWN", "e6cece8d63174723904616946ef783ef", ERR, "{role} is not locked down as required: {reason}"
)
MEMORY_LOCKED = Event("MEMORY_LOCKED", "148241cab5e44b0e81e5783e6b4ce0c8", INFO, "{role}: all memory is locked")
MEMORY_ARENA_ONLY = Event(
    "MEMORY_ARENA_ONLY", "89f3c8c8f04f42cdb9b441547ba09c99", NOTICE, "{role}: only the key arena is locked: {reason}"
)

# -- calls between processes
PEER_ADMITTED = Event(
    "PEER_ADMITTED", "24b6654177ba4043b8b2322e37be5519", DEBUG, "{door}: pid {pid} uid {uid} connected"
)
PEER_REFUSED = Event(
    "PEER_REFUSED", "eec6fcf311b441fcbc7434f50e98d377", WARNING, "{door}: pid {pid} uid {uid} refused: {reason}"
)
PEER_GONE = Event("PEER_GONE", "fcf510ac876749cd8d43ab4f91d3899e", INFO, "{door}: {peer} went away")
CALL_REFUSED = Event(
    "CALL_REFUSED", "8d3c483a637c4cda97ad6e7262f26235", NOTICE, "{door}: {call} of {peer} refused: {reason}"
)
LIMIT = Event("LIMIT", "425ddea6e9e54b0496d81c72905b9e97", WARNING, "{what}: the limit of {limit} is reached, refusing")

# -- decisions
DECISION = Event(
    "DECISION",
    "392b69c8fa614ecbad1119fb93b5d554",
    NOTICE,
    "{decision}: {rule} {subject} on {object} {attribute}: {reason}",
)
# A yes, where what follows from it has an event of its own.
DECIDED = Event(
    "DECIDED",
    "5b6d3a7f21c24f6f8f0d5e7a4c1b9e32",
    DEBUG,
    "{decision}: {rule} {subject} on {object} {attribute}: {reason}",
)
ACCESS_GIVEN = Event(
    "ACCESS_GIVEN", "5fc66544dbb24229a48d4929423b4c80", NOTICE, "given: {attribute} to {subject} on {object}"
)
ACCESS_RESCINDED = Event(
    "ACCESS_RESCINDED", "215e0955661541719b1f58e8cf9b79ab", NOTICE, "rescinded: {attribute} of {subject} on {object}"
)
GUEST_ADDED = Event("GUEST_ADDED", "730186324b834d11bf3ac2f903ef23e9", NOTICE, "guest {subject} added, cards {cards}")
GUEST_REMOVED = Event("GUEST_REMOVED", "eb2bca426aec4befa82aa1bbf3dc80a4", NOTICE, "guest {subject} removed")
POLICY_RESTORED = Event("POLICY_RESTORED", "636cb0796767424bbedd06045799699f", INFO, "policy restored: {what}")

POLICY_APPLIED = Event("POLICY_APPLIED", "96678cbe501540a08d91995ed634965d", NOTICE, "policy {version} applied: {what}")
POLICY_DENIED = Event("POLICY_DENIED", "c7f061b0f57043a7b35514bfac4edbcf", NOTICE, "refused by the policy: {reason}")
POLICY_REFUSED = Event(
    "POLICY_REFUSED", "1eeb815c65d948f6a328b69aabeccaa4", ERR, "the policy files are refused: {reason}"
)

# -- cards
CARD_IN_SERVICE = Event(
    "CARD_IN_SERVICE", "687203947f2d43b2bea1a2c329afa5f4", NOTICE, "card {card} is in service: {what}"
)
CARD_LOST = Event("CARD_LOST", "ca193415608046a99f0715975a1bf73e", WARNING, "card {card} went away: {reason}")
CARD_OUT = Event("CARD_OUT", "fb1f2df8a55743909bc39f4324991b35", ERR, "card {card} is out of service: {reason}")
TURNS_SET = Event("TURNS_SET", "4779d0c137e74ea3a635afa8c970e477", INFO, "card {card} is shared: {what}")
TURNS_REFUSED = Event(
    "TURNS_REFUSED", "b07ad085b35446f6827bb99b68646063", ERR, "card {card} cannot be shared as configured: {reason}"
)
SLOT_OVERRUN = Event(
    "SLOT_OVERRUN",
    "22d1d81e5a8e4333bac2e486a85cb211",
    WARNING,
    "card {card}: a slot of {subject} ended {late_us} us late",
)
CARD_READMITTED = Event(
    "CARD_READMITTED", "0c1d6c3f5e4a4b6f9a56d1b7e2f3a481", NOTICE, "card {card} is readmitted; it was out for: {reason}"
)
CARD_WIPED = Event("CARD_WIPED", "fc16a38f77754b48b466a2ac46801192", INFO, "card {card} wiped and read back")
GUARD_LOST = Event(
    "GUARD_LOST", "21846e575e86441b8b445813d0bf4e52", WARNING, "card {card}: the guard went away, answering busy"
)
GUARD_BACK = Event("GUARD_BACK", "43dbda6269a94582a2b58678bc5c3bd9", NOTICE, "card {card}: the guard is back")
INSTANCE_CONNECTED = Event(
    "INSTANCE_CONNECTED", "7ed52599104e4da88af84fa471b6c506", INFO, "card {card}: {subject} connected"
)
INSTANCE_DROPPED = Event(
    "INSTANCE_DROPPED", "51f507a3b3ba4facae8cf942170849a4", INFO, "card {card}: {subject} dropped: {reason}"
)
KEY_ACTIVE = Event(
    "KEY_ACTIVE", "4e02e4082a2b4620a1d6874fce8e0259", NOTICE, "card {card}: key {key} of {subject} is active"
)
KEY_DESTROYED = Event(
    "KEY_DESTROYED",
    "42abee70be594f418b3cf48a48e48c92",
    NOTICE,
    "card {card}: key {key} of {subject} destroyed: {reason}",
)
ATTACHED = Event(
    "ATTACHED", "7db39df8c25741e2b00ac7b84227f004", INFO, "card {card}: a connection of {subject} attached"
)
DETACHED = Event(
    "DETACHED", "ee0eeed73ed948ce914d9c714e9edf4a", INFO, "card {card}: a connection of {subject} ended: {reason}"
)

# -- the audit log
AUDIT_ALARM = Event("AUDIT_ALARM", "f1213c1391414d7c9edcbfc0fc8dd636", ERR, "audit: {reason}")
AUDIT_FULL = Event(
    "AUDIT_FULL", "7508ab5cfabf448a8eb8dc9a1bd2b800", ERR, "the audit log of {what} cannot be written: {reason}"
)
AUDIT_WRITES = Event(
    "AUDIT_WRITES", "dcd6a02225bf4634b86ad381d547ab82", NOTICE, "the audit log of {what} can be written again"
)

# -- the authority
TOKEN_ISSUED = Event(
    "TOKEN_ISSUED", "b7694340734e4cc89da31e3c61858eb7", NOTICE, "enrolment token issued for {role} {subject}, id {id}"
)
REGISTERED = Event(
    "REGISTERED", "db032a9d4354400cafefe92e041ce515", NOTICE, "{role} {subject} registered, serial {serial}"
)
REVOKED = Event("REVOKED", "52153713c058499b9271f338104d7ea2", NOTICE, "{role} {subject} revoked: {reason}")
KEY_REGISTERED = Event(
    "KEY_REGISTERED", "8bcb7dc328c54a52859afbd08e8071f9", NOTICE, "a key of {subject} registered, serial {serial}"
)
KEY_NUMBERED = Event(
    "KEY_NUMBERED", "2e7cc557954249ff8749056b1bfea5b8", NOTICE, "key {key} of {subject} confirmed for card {card}"
)
PROTOCOL_REFUSED = Event(
    "PROTOCOL_REFUSED", "a5ab445fea0648679bb925a0315039a9", WARNING, "{rule} of {subject} refused: {reason}"
)
STORE_FAILED = Event(
    "STORE_FAILED", "00a22d8121a74ebfb2a0b5420e600e06", ERR, "the register cannot be written: {reason}"
)

# -- the broker
GUEST_GONE = Event("GUEST_GONE", "3ae3036d673949a4989bbd54c12df2b6", INFO, "guest {subject} went away: {reason}")
GUEST_REFUSED = Event(
    "GUEST_REFUSED", "5c83af0a0c4745a09aee2eedc545eb65", WARNING, "guest {subject} refused: {rule} {reason}"
)
LISTENING = Event("LISTENING", "a138347a6f224501a4532c7650ef3d07", INFO, "listening for {subject} on {what}")

# -- the boot
BOOT_ACCEPTED = Event("BOOT_ACCEPTED", "d70744c07cdd45129a08856fd85b092b", NOTICE, "the boot is as recorded: {what}")
BOOT_REFUSED = Event("BOOT_REFUSED", "723f7b001e304042a3fba7bc17b00a17", ERR, "the boot is refused: {reason}")
BOOT_DIFFERS = Event("BOOT_DIFFERS", "e2f282c94c2545d58f0d92b432823017", ERR, "{reason}")

# -- vecd dev
CHILD_READY = Event("CHILD_READY", "a4d73e45b01449feaba7eb77f2db0f0d", INFO, "{role} is ready")
CHILD_ENDED = Event("CHILD_ENDED", "81cdb733856c4b209886f1794f180abf", WARNING, "{role} ended: {reason}")

EVENTS: tuple[Event, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Event))
