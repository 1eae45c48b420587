"""Journal: entries that balance, their life from draft to voided, and their audit trail."""
