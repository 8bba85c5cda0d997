"""How a policy's parameters move while it learns, beside how a random walk would."""
