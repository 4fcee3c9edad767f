"""
What can be taken out of the rules without a proof noticing, and why it stays in: the whole list, held to be whole.

What is here is noticed by `as_specified` or by nothing: the rules are then as secure, as live and as silent as before.
"""

LESS = "the rule does less or says no more often: nothing is gained by it, and the guest is the one who notices"
FORM = "`?` and no change places, or another ? is given: both are refusals"
CAUSE = "the refusal is the same, by a later condition, and names another cause or says it less well"
AUTHORITY = "e* says who may decide, not which states are secure: the manager may take e* at any time (R5)"
SPECIFIED = (
    "what a right is good for: no state is less secure, the data stay their owner's; the model says so, no property"
)
REUSE = "own(i) is fixed for a name, so what a name leaves behind is met by the same owner alone; zeroed all the same"
THERE = "the card is there already: a yes that changes nothing, or a later condition refuses"
WRITE_DOWN = "H14: data would come down with the level; no property of a state sees it, labels of the induction does"

WHY = {
    "get_control: always False: state.world[o].kind == INSTANCE": LESS,
    "get_control: effect _hold(state, s, o, C)": LESS,
    "get_control: guard works not in look.virtual(o)": "implied: f_v of every card holds all instance levels (H11)",
    "release: guard (bit == E) != (s == MANAGER)": FORM,
    "create: guard type(level) is not int": FORM,
    "create: wipe ('memory', o)": REUSE,
    "destroy: guard not look.holds(MANAGER, o) & E": AUTHORITY,
    "destroy: always True: byte": "a change from nothing to nothing",
    "_instance_busy: guard held": SPECIFIED,
    "_instance_busy: guard table == 'b'": CAUSE,
    "_instance_busy: guard table == 'key'": CAUSE,
    "_card_busy: always False: status == FREE": LESS,
    "_card_busy: guard connected": CAUSE,
    "rescind: always False: bit != C": LESS,
    "move: guard type(level) is not int": FORM,
    "move: always False: state.world[o].kind == INSTANCE": LESS,
    "move: always False: s == MANAGER": LESS,
    "move: guard not look.holds(MANAGER, o) & E": AUTHORITY,
    "_up: guard status != CONTROL": THERE,
    "_up: guard current is None": "an idle card at L2 is secure and useless: R12 brings it back",
    "_down: guard level not in state.levels.instance": CAUSE,
    "_down: guard status != IN_USE": THERE,
    "_down: guard current is None": CAUSE,
    "_down: guard level != works": "the card goes to the slot owner's level whatever level was asked for",
    "_move_instance: guard state.levels.count == 4": FORM,
    "_move_instance: guard not look.holds(MANAGER, i) & E": AUTHORITY,
    "_move_instance: guard lowered and held & C": WRITE_DOWN,
    "_move_instance: effect _put('level', None, i, below, level)": LESS,
    "_move_instance: wipe ('memory', i)": WRITE_DOWN,
    "switch: always False: follower is not None": FORM,
    "switch: guard entity is None or entity.kind != INSTANCE": FORM,
    "switch: guard s != MANAGER": FORM,
    "switch: guard not look.holds(MANAGER, k) & E": AUTHORITY,
    "switch: guard status == FREE": "R12 of a free card cleans what is clean",
    "submit: guard not look.key(i, k)": SPECIFIED,
    "process: guard request.subject != k": "implied with one card; another card's request does what its own would",
    "process: guard status != IN_USE": "implied: a context exists in using alone (residue)",
    "configure: effect _put('output', None, k, look.output(k), i)": SPECIFIED,
    "_appends: guard look.current(k) != i": "implied: only the slot owner holds a (slot)",
    "_appends: guard not look.holds(i, k) & A": SPECIFIED,
    "_in_control: guard status != CONTROL": "implied: r and w are held in control alone (star)",
    "_in_control: guard not look.holds(i, k) & bits": SPECIFIED,
    "_lacks: guard what.kind == INSTANCE and what.owner != s": CAUSE,
}


def table():
    """Maker of docs/model.md, "mutants"."""
    by_reason = {}
    for name, why in WHY.items():
        by_reason.setdefault(why, []).append(f"`{name.replace('|', chr(92) + '|')}`")
    rows = [f"| {'<br/>'.join(names)} | {why} |" for why, names in by_reason.items()]
    return "\n".join(["| taken out of `vecd/ppm/rules.py` | why no proof notices |", "|---|---|", *rows])
