"""Robustness of a closed loop: exponents of state and reward, returns under disturbance."""
