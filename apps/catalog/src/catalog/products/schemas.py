"""Products as requests and answers have them."""

from datetime import datetime

import msgspec

from catalog.fields import Id, Name, Text
from catalog.products.models import Product

Attributes = dict[Name, Text]


class ProductIn(msgspec.Struct, forbid_unknown_fields=True):
    """Describe a product to be."""

    sku: Name
    name: Name
    category_id: Id
    description: Text = ""
    attributes: Attributes = {}


class ProductChange(msgspec.Struct, forbid_unknown_fields=True):
    """Change a product; what is left out stays."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    description: Text | msgspec.UnsetType = msgspec.UNSET
    category_id: Id | msgspec.UnsetType = msgspec.UNSET
    attributes: Attributes | msgspec.UnsetType = msgspec.UNSET


class ProductOut(msgspec.Struct):
    """Show a product."""

    id: int
    sku: str
    name: str
    description: str
    category_id: int
    attributes: dict[str, str]
    created_at: datetime

    @staticmethod
    def of(product: Product) -> "ProductOut":
        """Show what the database holds."""
        return ProductOut(
            product.id,
            product.sku,
            product.name,
            product.description,
            product.category_id,
            product.attributes,
            product.created_at,
        )


class ProductPage(msgspec.Struct):
    """Show one page of products."""

    items: list[ProductOut]
    after: int | None
    """What to send for the next page; null on the last one."""


class Imported(msgspec.Struct):
    """Say what became of a file."""

    created: int
    updated: int
