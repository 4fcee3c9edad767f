"""All calls between our own processes and vecctl, in one table.

A call that has no row here does not exist. `door(name, side)` is what base/ipc.py takes as its table: it converts
the arguments (and the answer) by the row, so a handler sees `bytes` where the row says "bytes" and may answer with
`bytes`; inside a "dict" or "list" bytes stay hex strings. A "fd" travels beside the JSON, in the order of the row:
as the handler's list of descriptors, or as `Answer.fds`. A row `{"*": "any"}` is free: documented with vecctl.

| door     | who asks          | who answers     | socket                  |
|----------|-------------------|-----------------|-------------------------|
| admin    | vecctl            | guard           | run/vecd/admin.sock     |
| ca-admin | vecctl            | authority       | run/vecd/ca/ca-admin.sock |
| ca       | broker            | authority       | run/vecd/ca.sock        |
| card     | card and guard, each the other        | run/vecd/card/NAME.sock |
| broker   | broker and guard, each the other      | run/vecd/broker.sock    |
| relay    | broker and card, each the other       | a passed socketpair     |
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vecd.base.types import Call, Table

FREE = {"*": "any"}
RESIDUE = {"context": "int", "output": "int", "keys": "list[int]"}

# fmt: off
_ROWS = (
    # -- admin: vecctl -> guard -------------------------------------------------------------------------------
    Call("status", "admin", "read", {}, FREE, "What runs, since when, and how the boot was judged."),
    Call("card.list", "admin", "read", {"after": "str?"}, {"cards": "list[dict]"},
         "The cards known here, with status and owner; a page of them, and where the next begins."),
    Call("card.show", "admin", "read", {"name": "str"}, FREE, "One card: word, instances, residue, counters."),
    Call("card.readmit", "admin", "change", {"name": "str"}, FREE, "A quarantined card's next process is let in."),
    Call("guest.list", "admin", "read", {"after": "str?"}, {"guests": "list[dict]"},
         "The guests, with instances and cards; a page of them, and where the next begins."),
    Call("guest.show", "admin", "read", {"name": "str"}, FREE, "One guest."),
    Call("guest.add", "admin", "change",
         {"name": "str", "id": "bytes", "cards": "list[str]", "uid": "int?", "cid": "int?", "pinned": "bytes?"},
         {"instance": "bytes", "socket": "str"},
         "A user with its default instance may reach these cards; the socket (or CID) is its alone. pinned: the id of "
         "the card that its token is for, which has to be among them."),
    Call("guest.remove", "admin", "change", {"name": "str"}, FREE, "Connections ended, rights gone, ids forgotten."),
    Call("access.show", "admin", "read", {"after": "str?"}, FREE,
         "M, b and the levels, as a square array for audit; a page of it, and where the next begins."),
    Call("access.give", "admin", "change", {"subject": "str", "object": "str", "attribute": "str"}, FREE,
         "R9: the attribute may be asked for from now on."),
    Call("access.rescind", "admin", "change", {"subject": "str", "object": "str", "attribute": "str"}, FREE,
         "R10: when this is answered nothing runs under the old right."),
    Call("access.explain", "admin", "read",
         {"subject": "str", "object": "str", "attribute": "str", "operation": "str?"}, FREE,
         "What would be decided now, by which rule, from which cells and levels."),
    Call("policy.diff", "admin", "read", {}, FREE,
         "What the files of policy.d say against what holds, as requests with the decision on each."),
    Call("policy.apply", "admin", "change", {"dry_run": "bool?"}, FREE,
         "M, levels and instances are those of the files, all of it or nothing; with dry_run it is only decided."),

    # -- ca-admin: vecctl -> authority ------------------------------------------------------------------------
    Call("token.new", "ca-admin", "change", {"role": "str", "name": "str", "valid_s": "int?", "card": "str?"},
         {"id": "bytes", "token": "bytes", "ca_sign_key": "bytes", "ca_seal_key": "bytes", "expires": "int",
          "card_id": "bytes?"},
         "A one-time enrolment token (role user, card or broker); with card, also the id of that card to pin.",
         to="authority"),
    Call("register.list", "ca-admin", "read", {}, {"parties": "list[dict]"},
         "Every party: role, name, id, serial, state, expiry.", to="authority"),
    Call("register.revoke", "ca-admin", "change", {"id": "bytes"}, FREE, "The certificate of this id is void.",
         to="authority"),

    # -- ca: broker -> authority ------------------------------------------------------------------------------
    Call("ca.register", "ca", "", {"body": "bytes"}, {"body": "bytes"}, "Message 2 of registration, answered by 3.",
         to="authority"),
    Call("ca.verify", "ca", "", {"body": "bytes"}, {"to_card": "bytes", "to_user": "bytes"},
         "Message 3 of verification, answered by 4.", to="authority"),
    Call("ca.loaded", "ca", "", {"sid": "bytes", "body": "bytes"},
         {"to_card": "bytes", "to_user": "bytes", "ok": "bool"}, "Message 9, answered by 10.", to="authority"),
    Call("ca.key", "ca", "", {"id_u": "bytes", "body": "bytes"}, {"body": "bytes"}, "A further key is registered.",
         to="authority"),
    Call("ca.keyrev", "ca", "", {"id_u": "bytes", "body": "bytes"}, {"body": "bytes", "to_cards": "any"},
         "A key is revoked; to_cards is the statement for each card that holds it.", to="authority"),
    Call("ca.who", "ca", "", {}, {"sign_key": "bytes", "seal_key": "bytes"}, "The authority's public keys.",
         to="authority"),

    # -- card: card process <-> guard -------------------------------------------------------------------------
    Call("card.hello", "card", "",
         {"driver": "str", "id": "bytes", "certificate": "bytes", "slots": "list[dict]", "instances": "list"},
         {"card": "int", "instances": "list", "drop": "list", "matrices": "fd", "word": "fd"},
         "The card is in service: its index, the instances it may serve, the key slots to drop, both memfds."),
    Call("audit.root", "card", "", {"root": "str", "alarms": "list[str]"}, {"number": "int", "hash": "bytes"},
         "The last root of the card's audit log is on record; answered by the guard's (number -1: it has none yet)."),
    Call("instance.connect", "card", "", {"instance": "int", "id": "bytes", "user": "bytes", "name": "str"}, FREE,
         "R1 i->k was decided: the card may give this instance turns.", to="card"),
    Call("instance.drop", "card", "", {"instance": "int"}, RESIDUE,
         "Answered when key slots are destroyed, data connections closed and pending output discarded; with what is "
         "left in the engine, as card.residue.", to="card"),
    Call("instance.rescind", "card", "", {"instance": "int", "attributes": "int"}, FREE,
         "Pending output that needed one of the attributes is discarded.", to="card"),
    Call("card.clean", "card", "", {}, {"wiped": "bool"} | RESIDUE,
         "R12(none): wiped, and read back; with what is left, as card.residue.", to="card"),
    Call("card.residue", "card", "", {}, RESIDUE,
         "Whose context and output are in the engine (-1: nobody's), whose keys in the slots.", to="card"),
    Call("card.broker", "card", "", {"relay": "fd"}, FREE, "One end of a socketpair to the broker (door relay).",
         to="card"),
    Call("card.report", "card", "", {}, FREE, "Counters of the data path, and how its turns were shared.", to="card"),
    Call("card.schedule", "card", "", {"share": "str", "slot_us": "int", "weights": "list"}, FREE,
         'Who shares the time from now on: "fair" or "strict", with pairs of an instance and its weight.', to="card"),

    # -- broker: broker <-> guard -----------------------------------------------------------------------------
    Call("broker.hello", "broker", "", {}, FREE, "The broker is in service."),
    Call("guest.who", "broker", "", {"name": "str"}, {"id": "bytes", "instances": "list[dict]"},
         "The user behind a listener, its instances, the cards each may reach, and which of them may hold keys."),
    Call("guest.connect", "broker", "", {"id_u": "bytes", "instance": "bytes", "card": "bytes"}, {"index": "int"},
         "R1 u->i, R2 a, R4 r, then R1 i->k, in that order, by the rules."),
    Call("guest.step", "broker", "", {"id_u": "bytes", "step": "str"}, FREE,
         "The guest may take this step now; Busy, with when to ask again, for one that asks too often."),
    Call("guest.release", "broker", "", {"id_u": "bytes", "instance": "bytes", "card": "bytes"}, FREE,
         "R6 c i->k, then what follows from it."),
    Call("listener.add", "broker", "",
         {"name": "str", "id_u": "bytes", "kind": "str", "cid": "int?", "listener": "fd"}, FREE,
         'A guest\'s listening socket: "unix", where whoever connects is this user, or "vsock", which all guests share '
         "and where only this CID is.", to="broker"),
    Call("listener.remove", "broker", "", {"name": "str"}, FREE, "Listener closed, its connections ended.",
         to="broker"),
    Call("card.add", "broker", "", {"name": "str", "id": "bytes", "relay": "fd"}, FREE,
         "One end of a socketpair to the card process (door relay).", to="broker"),
    Call("card.remove", "broker", "", {"name": "str"}, FREE, "The card is gone; its runs end.", to="broker"),

    # -- relay: broker <-> card -------------------------------------------------------------------------------
    Call("relay.register", "relay", "", {"body": "bytes"}, {"body": "bytes"},
         "Message 1 of the card's registration, answered by message 4.", to="broker"),
    Call("instance.connections", "relay", "", {"user": "bytes", "instance": "bytes", "open": "int"}, FREE,
         "How many data connections the instance has on the card now; without any it is released after a while.",
         to="broker"),
    Call("verify.open", "relay", "", {"body": "bytes"}, {"body": "bytes"}, "Message 1, answered by message 2.",
         to="card"),
    Call("verify.accept", "relay", "", {"body": "bytes"}, FREE, "Message 5.", to="card"),
    Call("key.load", "relay", "", {"body": "bytes"}, {"sid": "bytes", "body": "bytes"},
         "Message 7, answered by message 8.", to="card"),
    Call("key.accept", "relay", "", {"body": "bytes", "instance": "bytes"}, FREE,
         "Message 11: the key slot, bound to this instance of its user, is active from now on.", to="card"),
    Call("key.destroy", "relay", "", {"body": "bytes"}, FREE, "The authority's keyrev statement.", to="card"),
    Call("attach", "relay", "", {"body": "bytes", "connection": "fd"}, FREE,
         "The guest's descriptor belongs to the card from now on.", to="card"),
    Call("session.release", "relay", "", {"sid": "bytes", "instance": "bytes"},
         {"id_u": "bytes", "instance": "bytes"}, "Whether this run may release the instance, and whose it is.",
         to="card"),
)
# fmt: on

CALLS: Mapping[str, Call] = MappingProxyType({row.name: row for row in _ROWS})
DOORS: tuple[str, ...] = tuple(dict.fromkeys(row.door for row in _ROWS))


def door(name: str, side: str) -> Table:
    """The rows of one door as `side` ("guard", "card", "broker", "authority", "vecctl") sees it.

    Both ends may look up every row of the door; only the rows whose `to` is this side are answered here.
    """
    if name not in DOORS:
        raise KeyError(f"no door {name!r}; doors are {', '.join(DOORS)}")
    rows = [row for row in _ROWS if row.door == name]
    return Table(rows, [row.name for row in rows if row.to == side])
