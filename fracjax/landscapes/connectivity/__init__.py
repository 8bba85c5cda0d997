"""What lies between two solutions: straight lines and trained curves."""
