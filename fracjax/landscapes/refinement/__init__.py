"""Scans that choose their points: adaptive pictures and zooms."""
