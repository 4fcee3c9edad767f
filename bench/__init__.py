"""One script per figure; JSON lines out."""
