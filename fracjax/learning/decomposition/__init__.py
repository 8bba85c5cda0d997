"""Local loss landscape decomposition: a few directions explain the gradient of any one sample."""
