from advanced_alchemy.base import BigIntAuditBase
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy.orm import Mapped


class Author(BigIntAuditBase):
    __tablename__ = "author"

    name: Mapped[str]


class AuthorService(SQLAlchemyAsyncRepositoryService[Author]):
    class Repository(SQLAlchemyAsyncRepository[Author]):
        model_type = Author

    repository_type = Repository
