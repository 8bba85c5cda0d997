"""Optimisers that trim the path of the parameters and boost what is left of it."""
