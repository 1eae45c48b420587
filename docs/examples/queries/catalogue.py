from models import Book
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload


async def titles(session: AsyncSession) -> list[str]:
    books = select(Book).options(selectinload(Book.author)).order_by(Book.title)
    return [f"{book.title}, by {book.author.name}" for book in await session.scalars(books)]
