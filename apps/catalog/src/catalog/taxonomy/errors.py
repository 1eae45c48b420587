"""Problems of the taxonomy."""

from catalog.problems import ConflictError, NotFoundError


class CategoryNotFoundError(NotFoundError):
    """Answer for a category that does not exist."""

    title = "Category not found"


class CycleError(ConflictError):
    """Refuse to move a category below itself."""

    title = "Cycle of categories"


class SlugTakenError(ConflictError):
    """Refuse a second category of one slug in one place."""

    title = "Slug taken"
