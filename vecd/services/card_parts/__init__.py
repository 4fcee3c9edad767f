"""The card process's work in small files, beside the pump in C; vecd/services/card.py puts them together."""
