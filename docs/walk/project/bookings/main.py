import datetime as dt
from decimal import Decimal
from typing import Annotated, TypeVar

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bookings.database import get_session
from bookings.models import (
    Attendee,
    AuditEntry,
    Booking,
    Building,
    Invoice,
    InvoiceLine,
    Notification,
    Payment,
    Review,
    Room,
    Status,
    User,
)
from bookings.notifications import notify

app = FastAPI(title="Bookings")
Row = TypeVar("Row")
Session = Annotated[AsyncSession, Depends(get_session)]


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class RoomIn(BaseModel):
    building_id: int
    name: str
    seats: int = Field(gt=0)
    price: Decimal = Field(ge=0)


class RoomOut(Out):
    id: int
    name: str
    seats: int
    price: Decimal


class BookingIn(BaseModel):
    room_id: int
    user_id: int
    starts: dt.datetime
    ends: dt.datetime
    attendees: list[str] = []


class BookingOut(Out):
    id: int
    room_id: int
    status: Status
    starts: dt.datetime
    ends: dt.datetime


class ReviewIn(BaseModel):
    user_id: int
    stars: int = Field(ge=1, le=5)
    text: str | None = None


class PaymentIn(BaseModel):
    amount: Decimal = Field(gt=0)
    reference: str


async def found(session: AsyncSession, model: type[Row], key: int) -> Row:
    row = await session.get(model, key)
    if row is None:
        raise HTTPException(404, f"{model.__name__} {key} is not there")
    return row


@app.post("/rooms", status_code=201)
async def create_room(new: RoomIn, session: Session) -> RoomOut:
    await found(session, Building, new.building_id)
    room = Room(**new.model_dump())
    session.add(room)
    try:
        await session.commit()
    except IntegrityError as error:
        await session.rollback()
        raise HTTPException(409, "there is a room of this name") from error
    return RoomOut.model_validate(room)


@app.get("/rooms")
async def rooms(session: Session, seats: int = 1) -> list[RoomOut]:
    query = select(Room).where(Room.seats >= seats).order_by(Room.name)
    return [RoomOut.model_validate(room) for room in await session.scalars(query)]


@app.get("/rooms/{room_id}")
async def room(room_id: int, session: Session) -> RoomOut:
    return RoomOut.model_validate(await found(session, Room, room_id))


@app.get("/rooms/{room_id}/free")
async def free(room_id: int, starts: dt.datetime, ends: dt.datetime, session: Session) -> bool:
    return not await _taken(session, room_id, starts, ends)


async def _taken(
    session: AsyncSession, room_id: int, starts: dt.datetime, ends: dt.datetime
) -> bool:
    overlapping = select(func.count()).where(
        Booking.room_id == room_id,
        Booking.status != Status.CANCELLED,
        Booking.starts < ends,
        Booking.ends > starts,
    )
    return bool(await session.scalar(overlapping))


@app.post("/bookings", status_code=201)
async def book(new: BookingIn, session: Session, tasks: BackgroundTasks) -> BookingOut:
    if new.starts >= new.ends:
        raise HTTPException(422, "it ends before it starts")
    await session.get(Room, new.room_id, with_for_update=True)
    room = await found(session, Room, new.room_id)
    user = await found(session, User, new.user_id)
    if len(new.attendees) > room.seats:
        raise HTTPException(422, f"{room.name} has {room.seats} seats")
    if await _taken(session, room.id, new.starts, new.ends):
        raise HTTPException(409, "the room is taken")
    booking = Booking(room_id=room.id, user_id=user.id, starts=new.starts, ends=new.ends)
    booking.attendees = [Attendee(email=email) for email in new.attendees]
    session.add_all([booking, AuditEntry(what="booked", details={"room": room.id})])
    await session.commit()
    tasks.add_task(notify, user.id, f"{room.name} is held for you")
    return BookingOut.model_validate(booking)


@app.post("/bookings/{booking_id}/confirm")
async def confirm(booking_id: int, session: Session) -> BookingOut:
    return await _change(session, booking_id, Status.HELD, Status.CONFIRMED)


@app.post("/bookings/{booking_id}/cancel")
async def cancel(booking_id: int, session: Session) -> BookingOut:
    return await _change(session, booking_id, None, Status.CANCELLED)


async def _change(
    session: AsyncSession, booking_id: int, before: Status | None, after: Status
) -> BookingOut:
    booking = await found(session, Booking, booking_id)
    if booking.status is after or (before is not None and booking.status is not before):
        raise HTTPException(409, f"it is {booking.status.value}")
    booking.status = after
    session.add(AuditEntry(what=after.value, details={"booking": booking.id}))
    await session.commit()
    return BookingOut.model_validate(booking)


@app.post("/organisations/{organisation_id}/invoices", status_code=201)
async def invoice(organisation_id: int, session: Session) -> dict[str, str]:
    billed = select(InvoiceLine.booking_id)
    query = (
        select(Booking, Room.price)
        .join(Room, Room.id == Booking.room_id)
        .join(User, User.id == Booking.user_id)
        .where(
            User.organisation_id == organisation_id,
            Booking.status == Status.CONFIRMED,
            Booking.id.not_in(billed),
        )
    )
    lines = [
        InvoiceLine(booking_id=booking.id, amount=price)
        for booking, price in await session.execute(query)
    ]
    if not lines:
        raise HTTPException(409, "there is nothing to bill")
    number = await session.scalar(select(func.count()).select_from(Invoice))
    new = Invoice(organisation_id=organisation_id, number=f"2026-{number + 1:04}", lines=lines)
    session.add(new)
    await session.commit()
    return {"number": new.number, "total": str(sum(line.amount for line in lines))}


@app.post("/invoices/{invoice_id}/payments", status_code=201)
async def pay(invoice_id: int, new: PaymentIn, session: Session) -> dict[str, str]:
    owed = await found(session, Invoice, invoice_id)
    session.add(Payment(invoice_id=owed.id, **new.model_dump()))
    try:
        await session.commit()
    except IntegrityError as error:
        await session.rollback()
        raise HTTPException(409, "this payment is known") from error
    paid = select(func.sum(Payment.amount)).where(Payment.invoice_id == invoice_id)
    total = sum(line.amount for line in owed.lines)
    return {"left": str(total - await session.scalar(paid))}


@app.post("/rooms/{room_id}/reviews", status_code=201)
async def review(room_id: int, new: ReviewIn, session: Session) -> dict[str, float]:
    await found(session, Room, room_id)
    session.add(Review(room_id=room_id, **new.model_dump()))
    try:
        await session.commit()
    except IntegrityError as error:
        await session.rollback()
        raise HTTPException(409, "one review each") from error
    mean = select(func.avg(Review.stars)).where(Review.room_id == room_id)
    return {"stars": float(await session.scalar(mean))}


@app.get("/users/{user_id}/notifications")
async def notifications(user_id: int, session: Session) -> list[str]:
    query = select(Notification.text).where(Notification.user_id == user_id)
    return list(await session.scalars(query.order_by(Notification.id)))
