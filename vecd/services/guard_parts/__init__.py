"""The guard's work in small files; vecd/services/guard.py opens the doors and puts them together."""
