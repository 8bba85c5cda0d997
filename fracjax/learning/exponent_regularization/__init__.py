"""Penalties on Lyapunov exponents, training with them, and smoothed objectives."""
