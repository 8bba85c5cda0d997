"""What a recorded path shows: computed as data, for the terminal, pages and JSON."""
