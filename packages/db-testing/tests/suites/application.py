"""A FastAPI application on a module-level engine, which its lifespan disposes of."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from models import Item
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

engine = create_async_engine("postgresql+asyncpg://production.invalid/production")
session_factory = async_sessionmaker(engine)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/items/{name}")
async def add(name: str) -> int:
    async with session_factory.begin() as session:
        item = Item(name=name)
        session.add(item)
        await session.flush()
        return item.id


@app.get("/items")
async def names() -> Sequence[str]:
    async with session_factory() as session:
        return (await session.scalars(select(Item.name).order_by(Item.id))).all()
