from bookings import database
from bookings.models import Notification


async def notify(user_id: int, text: str) -> None:
    """Write a notification, after the response has been sent and in a session of its own."""
    async with database.async_session() as session:
        session.add(Notification(user_id=user_id, text=text))
        await session.commit()
