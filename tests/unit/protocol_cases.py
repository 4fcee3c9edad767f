"""The table of violated checks, which the protocol_cases_* modules fill."""

CASES = {}


def case(number, rule, reason):
    """The function violates check `number` and nothing else: refused by `rule`, with `reason` in the reason."""

    def register(function):
        CASES.setdefault(number, []).append((rule, reason, function))
        return function

    return register


def other(value):
    """Something of the same form and another value."""
    return value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
