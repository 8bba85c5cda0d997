"""How fast neighbouring states part: Lyapunov exponents, their directions and tests of chaos."""
