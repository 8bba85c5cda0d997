"""What people do to keep a network able to learn: resets, decay, norms, heads, recycled units."""
