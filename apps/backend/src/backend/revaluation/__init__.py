"""Revaluation: what balances in foreign currencies are worth on a day."""
