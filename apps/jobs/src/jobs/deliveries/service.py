"""What is done with deliveries."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from jobs import queue
from jobs.deliveries.answers import Answer
from jobs.deliveries.errors import DeliveryNotFoundError, NotDeadError
from jobs.deliveries.models import Attempt, Delivery, DeliveryState
from jobs.deliveries.schemas import DeliveryQuery
from jobs.endpoints import service as endpoints
from jobs.events import service as events
from jobs.events.models import Event
from jobs.pagination import paged
from jobs.queue import JobName
from jobs.settings import DeliverySettings

_ENDED = (DeliveryState.DELIVERED, DeliveryState.DISCARDED)


async def fan_out(session: AsyncSession, event_id: int) -> None:
    """Make a delivery for each endpoint that wants an event, once.

    A job may run twice, when its worker is slow and taken for dead. The second run waits for the
    first one's transaction, and finds nothing to do.
    """
    event = await events.untold(session, event_id)
    if event is None:
        return
    wanting = await endpoints.wanting(session, event.type)
    made = [Delivery(event_id=event_id, endpoint_id=endpoint_id) for endpoint_id in wanting]
    session.add_all(made)
    events.mark_told(event)
    await session.flush()
    await queue.enqueue(session, JobName.DELIVER, [delivery.id for delivery in made])


async def get(session: AsyncSession, id_: int) -> Delivery:
    """Return a delivery; raises `DeliveryNotFoundError`."""
    delivery = await session.get(Delivery, id_)
    if delivery is None:
        raise _not_found(id_)
    return delivery


async def list_page(session: AsyncSession, query: DeliveryQuery) -> list[Delivery]:
    """Return one page, and one delivery more if another page follows."""
    statement = paged(select(Delivery), Delivery.id, query)
    if query.state is not None:
        statement = statement.where(Delivery.state == query.state)
    if query.event is not None:
        statement = statement.where(Delivery.event_id == query.event)
    if query.endpoint is not None:
        statement = statement.where(Delivery.endpoint_id == query.endpoint)
    return list(await session.scalars(statement))


async def attempts(session: AsyncSession, id_: int) -> Sequence[Attempt]:
    """Return a delivery's attempts, the first one first."""
    statement = select(Attempt).where(Attempt.delivery_id == id_).order_by(Attempt.id)
    return (await session.scalars(statement)).all()


async def due(session: AsyncSession, id_: int) -> Delivery | None:
    """Return a delivery that is to be sent, with its event and endpoint.

    None if it has ended, has been pruned, or its endpoint is switched off: then it waits as a dead
    letter.
    """
    statement = (
        select(Delivery)
        .where(Delivery.id == id_, Delivery.state == DeliveryState.PENDING)
        .options(joinedload(Delivery.event), joinedload(Delivery.endpoint))
        .with_for_update(of=Delivery)
    )
    delivery = (await session.scalars(statement)).one_or_none()
    if delivery is not None and not delivery.endpoint.active:
        _end(delivery, DeliveryState.DEAD)
        return None
    return delivery


async def record(
    session: AsyncSession, id_: int, answer: Answer, settings: DeliverySettings
) -> timedelta | None:
    """Record what came of an attempt; return after how long another one is due, if one is."""
    delivery = await session.get_one(
        Delivery,
        id_,
        with_for_update={"of": Delivery},
        options=[joinedload(Delivery.endpoint, innerjoin=True)],
    )
    # Not before: its foreign key locks the delivery weakly, and two workers with such a lock would
    # wait for each other.
    session.add(Attempt(delivery_id=id_, status=answer.status, error=answer.error))
    if delivery.state is not DeliveryState.PENDING:
        return None  # another worker was faster: this one's lease had ended
    if answer.accepted:
        _end(delivery, DeliveryState.DELIVERED)
        return None
    delivery.failures += 1
    if answer.gone:
        delivery.endpoint.active = False
    if answer.gone or delivery.failures >= settings.attempts:
        _end(delivery, DeliveryState.DEAD)
        return None
    return backoff(delivery.failures, answer.retry_after, settings)


def backoff(failures: int, retry_after: timedelta | None, settings: DeliverySettings) -> timedelta:
    """Return how long to wait after so many failures: twice as long each time, up to a limit."""
    longest = settings.longest_delay
    doublings = min(failures - 1, 62)  # beyond any limit, and within a timedelta
    delay = longest
    if settings.first_delay <= longest / 2**doublings:
        delay = settings.first_delay * 2**doublings
    return min(longest, max(delay, retry_after or timedelta(0)))


async def retry(session: AsyncSession, id_: int) -> Delivery:
    """Have a dead letter sent again; raises `DeliveryNotFoundError` and `NotDeadError`."""
    delivery = await _dead(session, id_)
    delivery.state = DeliveryState.PENDING
    delivery.failures = 0
    delivery.ended_at = None
    await session.flush()
    await queue.enqueue(session, JobName.DELIVER, [id_])
    return delivery


async def discard(session: AsyncSession, id_: int) -> Delivery:
    """Give a dead letter up; raises `DeliveryNotFoundError` and `NotDeadError`."""
    delivery = await _dead(session, id_)
    _end(delivery, DeliveryState.DISCARDED)
    await session.flush()
    await session.refresh(delivery)
    return delivery


async def prune(session: AsyncSession, before: datetime) -> int:
    """Delete events fanned out before a moment, with all deliveries ended; return how many.

    What the queue logged and counted before then goes as well.
    """
    open_ones = exists().where(Delivery.event_id == Event.id, Delivery.state.not_in(_ENDED))
    statement = delete(Event).where(Event.fanned_out_at < before, ~open_ones)
    pruned = (await session.execute(statement.returning(Event.id))).all()
    await queue.prune(session, before)
    return len(pruned)


def _end(delivery: Delivery, state: DeliveryState) -> None:
    delivery.state = state
    delivery.ended_at = func.now()


async def _dead(session: AsyncSession, id_: int) -> Delivery:
    delivery = await session.get(Delivery, id_, with_for_update=True)
    if delivery is None:
        raise _not_found(id_)
    if delivery.state is not DeliveryState.DEAD:
        message = f"Delivery {id_} is {delivery.state}; only a dead letter can be dealt with."
        raise NotDeadError(message)
    return delivery


def _not_found(id_: int) -> DeliveryNotFoundError:
    return DeliveryNotFoundError(f"There is no delivery {id_}.")
