"""A double-entry accounting service."""
