"""The paper's protocols as its text has them, as data; and the attacks on them, found by search."""
