"""vecd: virtual encryption cards for the guests of a hypervisor, behind a reference monitor."""

__version__ = "0.1.0"
