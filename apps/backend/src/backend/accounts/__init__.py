"""Accounts: the typed, hierarchical chart of accounts of a book."""
