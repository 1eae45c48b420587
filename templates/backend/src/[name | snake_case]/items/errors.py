"""What can go wrong with items."""


class NameTakenError(Exception):
    """Refuse a second item of one name."""
