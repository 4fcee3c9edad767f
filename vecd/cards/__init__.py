"""Drivers of encryption cards behind one interface (api.py); docs/cards.md. Imported by name, when asked for."""
