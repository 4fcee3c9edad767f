"""A guest written from the documents alone, against the real machine: it imports nothing of vecd."""
