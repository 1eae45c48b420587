"""Attempts: what is sent, and what follows from the answer. No worker runs."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pgqueuer.errors import RetryRequested
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.deliveries import service
from jobs.deliveries.answers import Answer
from jobs.deliveries.models import DeliveryState
from jobs.deliveries.schemas import DeliveryQuery
from jobs.endpoints import service as endpoints
from jobs.endpoints.schemas import EndpointChange
from jobs.events.models import Event
from jobs.settings import DeliverySettings
from jobs.worker import Work

from .receiver import PATIENCE, REFUSED, Receiver
from .shop import Shop
from .workers import AT_ONCE

SHORT = timedelta(seconds=0.2)

WAITING = text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid = ANY (:pids)")


async def _delivery(shop: Shop, work: Work) -> int:
    """Publish an event, fan it out, and return its only delivery."""
    await work.fan_out(await shop.publish(order=1))
    (delivery,) = await shop.deliveries()
    return delivery.id


async def _state(shop: Shop) -> tuple[DeliveryState, int]:
    (delivery,) = await shop.deliveries()
    return delivery.state, delivery.failures


async def test_a_delivery_is_made_for_each_endpoint_that_wants_the_event(
    shop: Shop, work: Work
) -> None:
    """And for no other."""
    wanting = [
        (await shop.subscribe("http://one.example", "order.placed")).id,
        (await shop.subscribe("http://two.example")).id,
    ]
    await shop.subscribe("http://three.example", "order.paid")
    await work.fan_out(await shop.publish("order.placed"))
    assert [delivery.endpoint_id for delivery in await shop.deliveries()] == wanting


async def test_fanning_out_twice_makes_each_delivery_once(shop: Shop, work: Work) -> None:
    """A job whose worker was taken for dead is done again."""
    await shop.subscribe("http://one.example")
    event = await shop.publish()
    await work.fan_out(event)
    await shop.subscribe("http://too.late.example")
    await work.fan_out(event)
    assert len(await shop.deliveries()) == 1


async def test_an_event_that_nobody_wants_is_told_to_nobody(
    shop: Shop, work: Work, db: AsyncSession
) -> None:
    """And needs no second look."""
    event = await shop.publish()
    await work.fan_out(event)
    assert await shop.deliveries() == []
    assert (await db.get_one(Event, event)).fanned_out_at is not None


async def test_an_accepted_delivery_has_ended(
    shop: Shop, work: Work, receiver: Receiver, db: AsyncSession
) -> None:
    """One request, one attempt."""
    await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    await work.deliver(id_)
    (received,) = receiver.received()
    assert received.data == {"order": 1}
    assert await _state(shop) == (DeliveryState.DELIVERED, 0)
    assert [attempt.status for attempt in await service.attempts(db, id_)] == [200]


async def test_a_delivery_is_signed_with_the_endpoints_secret(
    shop: Shop, work: Work, receiver: Receiver
) -> None:
    """The receiver can tell it from anybody else's request."""
    endpoint = await shop.subscribe(receiver.url)
    await work.deliver(await _delivery(shop, work))
    received = await receiver.next_request()
    assert received.is_signed_with(endpoint.secret)
    assert not received.is_signed_with(b"another secret")


async def test_what_has_ended_is_not_sent_again(shop: Shop, work: Work, receiver: Receiver) -> None:
    """A job that runs twice sends once, unless its worker died in between."""
    await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    for _ in range(2):
        await work.deliver(id_)
    assert len(receiver.received()) == 1


async def test_a_delivery_that_does_not_exist_needs_no_attempt(work: Work) -> None:
    """Its event may have been pruned."""
    await work.deliver(12345)


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
async def test_a_refused_delivery_is_sent_again_later(
    shop: Shop, work: Work, receiver: Receiver, status: int
) -> None:
    """Whatever the reason: redirects are not followed."""
    receiver.answers = [(status, {"location": receiver.url})]
    await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    with pytest.raises(RetryRequested, match=f"status {status}"):
        await work.deliver(id_)
    assert await _state(shop) == (DeliveryState.PENDING, 1)


async def test_attempts_of_a_delivery_have_one_id(
    shop: Shop, work: Work, receiver: Receiver
) -> None:
    """By it a receiver knows what it has seen."""
    receiver.answers = [REFUSED]
    await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    with pytest.raises(RetryRequested):
        await work.deliver(id_)
    await work.deliver(id_)
    first, second = receiver.received()
    assert first.id == second.id


async def test_deliveries_of_one_event_have_ids_of_their_own(
    shop: Shop, work: Work, receiver: Receiver
) -> None:
    """Two endpoints may share an address."""
    for _ in range(2):
        await shop.subscribe(receiver.url)
    await work.fan_out(await shop.publish())
    for delivery in await shop.deliveries():
        await work.deliver(delivery.id)
    first, second = receiver.received()
    assert first.id != second.id


async def test_a_receivers_cookie_is_not_kept(shop: Shop, work: Work, receiver: Receiver) -> None:
    """It would go to all endpoints of that host, which may be somebody else's."""
    receiver.answers = [(200, {"set-cookie": "session=1"})]
    for _ in range(2):
        await shop.subscribe(receiver.url)
    await work.fan_out(await shop.publish())
    for delivery in await shop.deliveries():
        await work.deliver(delivery.id)
    assert ["cookie" in received.headers for received in receiver.received()] == [False, False]


async def test_an_address_where_nobody_listens_is_tried_again(
    shop: Shop, work: Work, db: AsyncSession
) -> None:
    """The attempt keeps the reason."""
    with Receiver() as gone:
        await shop.subscribe(gone.url)
    id_ = await _delivery(shop, work)
    with pytest.raises(RetryRequested, match="ConnectError"):
        await work.deliver(id_)
    (attempt,) = await service.attempts(db, id_)
    assert (attempt.status, str(attempt.error)[:12]) == (None, "ConnectError")


async def test_a_receiver_that_does_not_answer_is_given_up(
    shop: Shop, work: Work, receiver: Receiver
) -> None:
    """After the time that it has; the delivery is sent again."""
    receiver.may_answer.clear()
    await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    hasty = replace(work, settings=AT_ONCE.model_copy(update={"timeout": SHORT}))
    with pytest.raises(RetryRequested, match=r"no answer within 0\.2 s"):
        await hasty.deliver(id_)


async def test_a_receiver_that_answers_bit_by_bit_is_given_up(shop: Shop, work: Work) -> None:
    """The time is for the whole answer: else one receiver could keep a worker for ever."""
    hung_up = asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"x-wait: a little\r\n")
            await asyncio.sleep(0.02)  # this is the slow receiver; nothing waits for it
        hung_up.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        await shop.subscribe("http://{}:{}".format(*server.sockets[0].getsockname()))
        id_ = await _delivery(shop, work)
        hasty = replace(work, settings=AT_ONCE.model_copy(update={"timeout": SHORT}))
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(RetryRequested, match=r"no answer within 0\.2 s"):
                await hasty.deliver(id_)
            await hung_up.wait()


async def test_an_acceptance_needs_no_body(shop: Shop, work: Work, receiver: Receiver) -> None:
    """What follows the status is not read: it could be more than a worker has memory for."""
    receiver.answers = [(200, {"content-length": "1000000000000"})]
    await shop.subscribe(receiver.url)
    await work.deliver(await _delivery(shop, work))
    assert await _state(shop) == (DeliveryState.DELIVERED, 0)


async def test_the_last_failure_makes_a_dead_letter(
    shop: Shop, work: Work, receiver: Receiver
) -> None:
    """Nobody retries it but by hand."""
    receiver.answers = AT_ONCE.attempts * [REFUSED]
    await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    for _ in range(AT_ONCE.attempts - 1):
        with pytest.raises(RetryRequested):
            await work.deliver(id_)
    await work.deliver(id_)
    assert await _state(shop) == (DeliveryState.DEAD, AT_ONCE.attempts)


async def test_a_receiver_that_is_gone_gets_nothing_more(
    shop: Shop, work: Work, receiver: Receiver, db: AsyncSession
) -> None:
    """410 switches the endpoint off."""
    receiver.answers = [(410, {})]
    endpoint = await shop.subscribe(receiver.url)
    await work.deliver(await _delivery(shop, work))
    assert await _state(shop) == (DeliveryState.DEAD, 1)
    assert not (await endpoints.get(db, endpoint.id)).active


async def test_an_endpoint_that_was_switched_off_is_left_alone(
    shop: Shop, work: Work, receiver: Receiver, db: AsyncSession
) -> None:
    """What was on its way waits as a dead letter, without an attempt."""
    endpoint = await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    await endpoints.change(db, endpoint.id, EndpointChange(active=False))
    await db.commit()
    await work.deliver(id_)
    assert receiver.received() == []
    assert await _state(shop) == (DeliveryState.DEAD, 0)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 120),
        (timedelta(minutes=30), 1500, 1800),
        (timedelta(minutes=-30), 0, 0),
        ("999999999999", 3600, 3600),
        ("soon", 0, 0),
        ("²", 0, 0),
        ("9" * 5000, 3600, 3600),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", 0, 0),
    ],
    ids=[
        "seconds",
        "a date",
        "a date in the past",
        "too long",
        "nonsense",
        "no digit",
        "more digits than Python reads",
        "a year beyond all years",
    ],
)
async def test_a_receiver_says_when_to_come_again(  # noqa: PLR0917 - parameters and fixtures
    shop: Shop,
    work: Work,
    receiver: Receiver,
    value: str | timedelta,
    least: int,
    most: int,
) -> None:
    """It is heard, up to the longest delay of ours."""
    if isinstance(value, timedelta):  # from now, which may be long after the tests were collected
        value = format_datetime(datetime.now(UTC) + value)
    receiver.answers = [(503, {"retry-after": value})]
    await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    with pytest.raises(RetryRequested) as requested:
        await work.deliver(id_)
    assert least <= requested.value.delay.total_seconds() <= most


async def test_an_answer_that_comes_too_late_changes_nothing(
    shop: Shop, work: Work, receiver: Receiver, db: AsyncSession
) -> None:
    """Another worker had taken the job over, and has delivered."""
    await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    await work.deliver(id_)
    late = Answer(500)
    assert await service.record(db, id_, late, AT_ONCE) is None
    await db.commit()
    assert await _state(shop) == (DeliveryState.DELIVERED, 0)


@pytest.mark.db(isolation="commit")  # connections that wait for each other
async def test_two_workers_may_record_one_delivery(
    shop: Shop, work: Work, db: AsyncSession
) -> None:
    """The second waits for the first one's commit, and neither attempt is lost."""
    await shop.subscribe("http://one.example")
    id_ = await _delivery(shop, work)
    recording: list[int] = []

    async def record() -> None:
        async with shop.sessionmaker.begin() as session:
            recording.append(await session.scalar(text("SELECT pg_backend_pid()")))
            await service.record(session, id_, Answer(200), AT_ONCE)

    async def let_go() -> None:
        while await db.scalar(WAITING, {"pids": recording}) != 2:
            pass  # the query has waited
        await db.rollback()

    # Lets both look at the delivery, but neither lock it.
    await db.execute(text("SELECT FROM deliveries FOR NO KEY UPDATE"))
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(record(), record(), let_go())
    assert await _state(shop) == (DeliveryState.DELIVERED, 0)
    assert [attempt.status for attempt in await service.attempts(db, id_)] == [200, 200]


@pytest.mark.db(isolation="commit")  # two connections, of which one would wait for the other
async def test_recording_does_not_wait_for_the_endpoint(
    shop: Shop, work: Work, db: AsyncSession
) -> None:
    """Another event may be on its way there."""
    await shop.subscribe("http://one.example")
    id_ = await _delivery(shop, work)
    await service.fan_out(db, await shop.publish())  # not committed: it locks the endpoint
    async with asyncio.timeout(PATIENCE), shop.sessionmaker.begin() as session:
        await service.record(session, id_, Answer(500), AT_ONCE)
    await db.rollback()
    assert await _state(shop) == (DeliveryState.PENDING, 1)


DELAYS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30))


@given(
    failures=st.integers(1, 10_000),
    first=DELAYS,
    longest=DELAYS,
    asked=st.none() | st.timedeltas(min_value=timedelta(0)),
)
def test_delays_double_up_to_the_longest(
    failures: int, first: timedelta, longest: timedelta, asked: timedelta | None
) -> None:
    """However many failures there are, and whatever the receiver asks for."""
    settings = DeliverySettings(first_delay=first, longest_delay=longest)
    delay = service.backoff(failures, asked, settings)
    doubled = first.total_seconds() * 2.0 ** min(failures - 1, 100)
    expected = min(longest.total_seconds(), max(doubled, (asked or timedelta(0)).total_seconds()))
    assert delay.total_seconds() == pytest.approx(expected, abs=1e-5)


async def test_deliveries_are_found_by_what_they_are_about(
    shop: Shop, work: Work, db: AsyncSession
) -> None:
    """By event, by endpoint and by state."""
    first, second = [await shop.subscribe(f"http://{name}.example") for name in ("one", "two")]
    events = [await shop.publish() for _ in range(2)]
    for event in events:
        await work.fan_out(event)

    async def found(**query: object) -> list[tuple[int, int]]:
        page = await service.list_page(db, DeliveryQuery.model_validate(query))
        return sorted((delivery.event_id, delivery.endpoint_id) for delivery in page)

    assert len(await found()) == 4
    assert await found(event=events[0]) == [(events[0], first.id), (events[0], second.id)]
    assert await found(endpoint=second.id, state="pending") == [
        (event, second.id) for event in events
    ]
    assert await found(state="dead") == []


async def test_attempts_are_not_held_up_by_a_transaction(
    shop: Shop, work: Work, receiver: Receiver, db: AsyncSession
) -> None:
    """While the receiver is waited for, nothing in the database is."""
    endpoint = await shop.subscribe(receiver.url)
    id_ = await _delivery(shop, work)
    seen: list[bool] = []

    class Watching(type(work.client)):  # type: ignore[misc]
        async def send(self, *args: object, **options: object) -> object:
            await endpoints.change(db, endpoint.id, EndpointChange(event_types=["order.paid"]))
            await db.commit()
            seen.append(True)
            return await super().send(*args, **options)

    async with Watching() as client:
        await replace(work, client=client).deliver(id_)
    assert seen == [True]
