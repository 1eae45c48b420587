"""Prices, and what they were at any moment."""
