"""vecctl: what an operator types. It decides nothing: it sends one call to a daemon and prints the answer."""
