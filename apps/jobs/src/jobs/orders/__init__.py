"""Orders: the business whose changes are published."""
