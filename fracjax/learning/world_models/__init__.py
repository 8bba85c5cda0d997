"""Training a compact world-model agent, with penalties on its imagined dynamics."""
