"""Reconciliation: which lines of a statement are which entries of the journal."""
