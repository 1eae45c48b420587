"""The taxonomy: categories in a forest, which all tenants share."""
