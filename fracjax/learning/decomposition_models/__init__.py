"""Networks of realistic kinds to decompose: a transformer, a convolutional network, policies."""
