"""Rates: what one currency cost in another, day by day."""
