"""vecctl log: the audit logs, read from their files. No daemon is asked, and none need run."""

from vecd.cli import log_proof, log_show, log_verify
from vecd.cli.command import Command

COMMANDS = (
    Command(
        "log",
        "verify",
        "check the audit logs: every record, every root, and each log against the others; exit code 7 for a finding",
        "",
        log_verify.shown,
        arguments=log_verify.arguments,
        local=log_verify.verify,
    ),
    Command(
        "log",
        "show",
        "the last records, as they stand there unchecked",
        "",
        log_show.shown,
        arguments=log_show.arguments,
        local=log_show.show,
    ),
    Command(
        "log",
        "prove-handover",
        "a proof that a card was wiped between two instances, for whoever has the authority's public key",
        "",
        log_proof.shown,
        arguments=log_proof.arguments,
        local=log_proof.prove,
    ),
)
