"""Problems of products."""

from catalog.problems import ConflictError, InvalidError, NotFoundError


class ProductNotFoundError(NotFoundError):
    """Answer for a product that does not exist or is another tenant's."""

    title = "Product not found"


class SkuTakenError(ConflictError):
    """Refuse a second product of one SKU."""

    title = "SKU taken"


class UnknownCategoryError(InvalidError):
    """Refuse a category that does not exist."""

    title = "Unknown category"


class BadLineError(InvalidError):
    """Refuse a file of products because of one of its lines."""

    title = "Bad line"
