"""A compact world-model agent in the manner of Dreamer V3, for state observations."""
