"""Scans for other programs."""
