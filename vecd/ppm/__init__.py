"""The reference monitor of the model (vEC-PPM, corrected): pure, and the specification of what the daemon does."""
