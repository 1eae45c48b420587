import factory
from factory.alchemy import SQLAlchemyModelFactory
from models import Author, Book
from polyfactory.factories.sqlalchemy_factory import SQLAlchemyFactory


class AuthorFactory(SQLAlchemyModelFactory):
    """factory_boy's."""

    class Meta:
        model = Author

    name = factory.Faker("name")


class BookFactory(SQLAlchemyModelFactory):
    """factory_boy's."""

    class Meta:
        model = Book

    title = factory.Sequence(lambda n: f"Volume {n}")
    author = factory.SubFactory(AuthorFactory)


class PolyBookFactory(SQLAlchemyFactory[Book]):
    """polyfactory's, which fills the columns by their types."""

    __set_relationships__ = True
    __set_primary_key__ = False
