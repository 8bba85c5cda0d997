"""Plasticity: how well a network that has learned can still learn something else."""
