"""Items: what this service is about."""
