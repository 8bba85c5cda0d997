"""The metrics of a network written down while it learns."""
