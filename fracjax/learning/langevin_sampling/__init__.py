"""Langevin sampling of network posteriors: natural gradients, priors, averages, calibration."""
