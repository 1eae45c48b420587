"""Reports: what the books say as of a date."""
