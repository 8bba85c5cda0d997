"""Paths of parameters: recorded from any training loop, kept on disk, read while they grow."""
