"""Products, each of one tenant."""
