"""Where one update lands: the distribution of returns after an update, and its spread's law."""
