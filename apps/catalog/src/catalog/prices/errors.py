"""Problems of prices."""

from catalog.problems import InvalidError, NotFoundError


class NoPriceError(NotFoundError):
    """Answer for a product that cost nothing that is known, then and in that currency."""

    title = "No price"


class InvalidPriceError(InvalidError):
    """Refuse an amount that no account holds, or a moment that no shop has."""

    title = "Invalid price"
