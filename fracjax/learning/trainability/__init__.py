"""Which hyperparameters let training converge, and how rough the boundary between is."""
