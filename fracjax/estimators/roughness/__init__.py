"""How fast differences shrink with the step: Hölder exponents of objectives, series, slices."""
