"""One behaviour suite for every card driver: what api.py and docs/cards.md promise, asked of the real data path."""
