"""Tests of the C itself: compiled here, with the project's flags, and run as programs."""
