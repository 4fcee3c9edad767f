"""The audit log: chains of records, their signed roots, and the verifier of both (docs/audit.md).

records and roots are the formats, verify and proof judge bytes; these are pure. keeper writes a chain, files reads one.
"""
