"""Measured boot: the policy (pure), and the device that holds the registers."""
