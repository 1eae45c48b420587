"""Items as requests and answers have them."""

from pydantic import BaseModel, ConfigDict, Field


class ItemIn(BaseModel):
    """Describe an item to be."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")


class ItemOut(BaseModel):
    """Show an item."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
