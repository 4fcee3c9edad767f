"""The broker's work in small files; vecd/services/broker.py puts them together."""
