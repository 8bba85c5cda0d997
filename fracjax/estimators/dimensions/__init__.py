"""Dimensions of sets of points: box-counting, information, correlation, generalised."""
