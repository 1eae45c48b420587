"""Endpoints: the addresses of other systems, and what they want to know of."""
