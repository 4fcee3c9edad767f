"""What knows nothing of our business: errors, events, configuration, paths, secrets, calls, sandbox."""
