"""How far a path wanders with the time between two looks, and how its displacements scatter."""
