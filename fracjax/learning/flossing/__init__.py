"""Gradient flossing: chosen Lyapunov exponents of recurrent networks, before and between tasks."""
