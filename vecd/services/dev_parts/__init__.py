"""What `vecd dev` does in small files; vecd/services/dev.py runs the processes."""
