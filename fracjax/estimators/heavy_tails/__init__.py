"""Tail indices of samples: stable laws, largest values, and the traps of pooling coordinates."""
