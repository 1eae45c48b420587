"""Statements: bank accounts, and what the bank says happened on them."""
