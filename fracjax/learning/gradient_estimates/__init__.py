"""How good a gradient estimator is: its variance, its bias, and the samples it needs."""
