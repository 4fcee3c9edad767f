"""The policy on the disk: the files in etc/vecd/policy.d, and what was applied, which is kept beside the register.

The files are read at `vecctl policy apply`, and at a start without guests; at any other start what holds is what the
register says, so a right that was rescinded does not come back with a restart. The register names the version of what
was applied; applied/VERSION.json has it: who is managed, and where a row stands.
"""

import contextlib
from pathlib import Path

from vecd.base import durable, events, folder, log
from vecd.base.errors import ConfigError, Failed, VecError
from vecd.base.paths import Paths
from vecd.ppm import policy as policies
from vecd.ppm import policy_kept
from vecd.ppm.policy import Policy
from vecd.services.guard_parts.entries import Register

SUFFIX = ".toml"


def _kept(paths: Paths, version: str) -> Path:
    return paths.policy.parent / "applied" / f"{version}.json"


def keep(paths: Paths, policy: Policy) -> None:
    """The policy is on the disk under its version. Raises Failed."""
    path = _kept(paths, policy.version)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        durable.write_beside(path, policy_kept.dump(policy))
        durable.put(path, path)
        durable.sync_folder(path.parent.parent)
    except OSError as error:
        raise Failed(
            f"{path} cannot be written: {error.strerror}",
            reason="a policy that would be forgotten is not applied",
            hint=f"make room in {path.parent}",
        ) from None


def forget_others(paths: Paths, version: str) -> None:
    """Of what was applied before nothing is kept."""
    for path in _kept(paths, version).parent.glob("*"):
        if path != _kept(paths, version):
            with contextlib.suppress(OSError):
                path.unlink()


def load(paths: Paths, version: str) -> Policy | None:
    """The policy that the register names; None where it names none. Raises ConfigError for one that is damaged."""
    if not version:
        return None
    path = _kept(paths, version)
    try:
        policy = policy_kept.load(path.read_text(encoding="utf-8"))
        if policy.version != version:
            raise ValueError("it is of another version")
        return policy
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be used: {error}",
            reason="it is the policy that was applied last, and the register names it",
            hint=f"restore {path.parent.parent} from a backup, or move it away to start with no guests at all",
        ) from None


def read(paths: Paths) -> dict[str, bytes]:
    """The files of policy.d, {} where there are none. Raises ConfigError where what they say may not be believed."""
    return folder.read(paths.policy_files, SUFFIX)


def at_start(paths: Paths, register: Register, *, fresh: bool) -> Policy | None:
    """
    The policy with which the guard starts; the register has its version and its number of levels.

    Without guests there is nothing that could have been rescinded, so the files hold as they are now. At a first start
    a policy that is refused ends it; at a later one what was applied holds on, and an alarm says that the files differ.
    """
    if register.users:
        return load(paths, register.policy)
    try:
        files = read(paths)
        policy = policies.require(files) if files else None
        if policy is not None:
            keep(paths, policy)
    except VecError as error:
        if fresh:
            raise ConfigError(error.message, reason=error.reason, hint="vecctl policy check") from None
        log.event(events.POLICY_REFUSED, reason=error)
        return load(paths, register.policy)
    if policy is None and not fresh:
        return load(paths, register.policy)
    if policy is not None and (policy.levels != register.levels):
        # Cards come back by themselves, and are made anew at another number of levels.
        register.cards.clear()
        register.levels = policy.levels
    register.policy = policy.version if policy is not None else ""
    return policy
