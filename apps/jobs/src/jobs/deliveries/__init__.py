"""Deliveries: one event on its way to one endpoint, its attempts, and its end."""
