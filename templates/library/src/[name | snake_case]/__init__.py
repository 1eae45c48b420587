"""What other projects share."""

__all__ = ["slug"]


def slug(title: str) -> str:
    """Return a title as it stands in addresses: lower case, words joined by hyphens."""
    return "-".join(title.lower().split())
