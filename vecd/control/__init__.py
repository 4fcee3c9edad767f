"""Calls between our own processes and vecctl: one table (calls.py)."""
