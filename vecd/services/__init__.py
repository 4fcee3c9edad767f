"""One file per process: guard, attest, broker, card, authority; and dev, which runs them all in one terminal."""
