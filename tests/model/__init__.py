"""The model, explored: every state that the real rules can reach in small worlds."""
