"""Evaluate an objective over a grid: chunked, sharded, stored, resumable."""
