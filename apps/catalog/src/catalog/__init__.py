"""Products of many tenants, their prices, and ways to find them."""
