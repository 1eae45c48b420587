"""Categories as answers have them."""

import msgspec

from catalog.taxonomy.models import Category


class CategoryOut(msgspec.Struct):
    """Show a category."""

    id: int
    parent_id: int | None
    slug: str
    name: str

    @staticmethod
    def of(category: Category) -> "CategoryOut":
        """Show what the database holds."""
        return CategoryOut(category.id, category.parent_id, category.slug, category.name)


class CategoryDetails(msgspec.Struct):
    """Show a category in its place."""

    category: CategoryOut
    path: list[CategoryOut]
    """From the root to its parent."""
    children: list[CategoryOut]
