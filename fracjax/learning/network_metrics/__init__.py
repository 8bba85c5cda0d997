"""What practitioners measure on a network to see whether it can still learn, by exact names."""
