"""Dead letters: what an operator does with them, over HTTP."""

import pytest
from httpx import AsyncClient

from jobs.worker import Work

from .receiver import REFUSED, Receiver
from .shop import Shop
from .workers import AT_ONCE, Workers


@pytest.fixture
async def dead(shop: Shop, work: Work, receiver: Receiver) -> int:
    """Make a dead letter, of a receiver that works again."""
    receiver.answers = [(410, {})]
    endpoint = await shop.subscribe(receiver.url)
    await work.fan_out(await shop.publish(order=1))
    (delivery,) = await shop.deliveries()
    await work.deliver(delivery.id)
    assert receiver.received()
    async with shop.sessionmaker.begin() as session:
        (await session.merge(endpoint)).active = True
    return delivery.id


async def test_dead_letters_are_listed(client: AsyncClient, dead: int) -> None:
    """With what was tried."""
    listed = (await client.get("/deliveries", params={"state": "dead"})).json()["items"]
    assert [delivery["id"] for delivery in listed] == [dead]
    shown = (await client.get(f"/deliveries/{dead}")).json()
    assert [(attempt["status"], attempt["error"]) for attempt in shown["attempts"]] == [(410, None)]
    assert shown["ended_at"] is not None


async def test_a_dead_letter_is_sent_again(
    client: AsyncClient, dead: int, work: Work, receiver: Receiver
) -> None:
    """As a new delivery would be, with the id that it had."""
    retried = (await client.post(f"/deliveries/{dead}/retry")).json()
    assert (retried["state"], retried["failures"], retried["ended_at"]) == ("pending", 0, None)
    await work.deliver(dead)
    assert receiver.effects == {f"delivery_{dead}"}
    assert (await client.get(f"/deliveries/{dead}")).json()["state"] == "delivered"


async def test_a_retried_letter_has_all_its_attempts_again(
    client: AsyncClient, dead: int, work: Work, receiver: Receiver
) -> None:
    """The first failure after it is not the last."""
    await client.post(f"/deliveries/{dead}/retry")
    receiver.answers = [REFUSED]
    with pytest.raises(Exception, match="status 500"):
        await work.deliver(dead)
    assert AT_ONCE.attempts > 1
    assert (await client.get(f"/deliveries/{dead}")).json()["state"] == "pending"


async def test_a_discarded_letter_has_ended(client: AsyncClient, dead: int) -> None:
    """It is no dead letter any more."""
    discarded = (await client.post(f"/deliveries/{dead}/discard")).json()
    assert discarded["state"] == "discarded"
    assert (await client.get("/deliveries", params={"state": "dead"})).json()["items"] == []


@pytest.mark.parametrize("action", ["retry", "discard"])
async def test_only_a_dead_letter_can_be_dealt_with(
    client: AsyncClient, dead: int, action: str
) -> None:
    """What was discarded, or is on its way, is not."""
    await client.post(f"/deliveries/{dead}/discard")
    refused = await client.post(f"/deliveries/{dead}/{action}")
    assert (refused.status_code, refused.json()["title"]) == (409, "Not a dead letter")
    assert "discarded" in refused.json()["detail"]


@pytest.mark.parametrize("action", ["retry", "discard"])
async def test_what_does_not_exist_cannot_be_dealt_with(client: AsyncClient, action: str) -> None:
    """It is not found."""
    assert (await client.post(f"/deliveries/12345/{action}")).status_code == 404


@pytest.mark.db(isolation="commit")  # workers have connections of their own
async def test_a_retried_letter_is_taken_up_by_a_worker(
    client: AsyncClient, shop: Shop, workers: Workers, receiver: Receiver
) -> None:
    """Without anybody else's doing."""
    receiver.answers = AT_ONCE.attempts * [REFUSED]
    await shop.subscribe(receiver.url)
    await shop.publish()
    await workers.drain()
    (dead,) = await shop.deliveries()
    await client.post(f"/deliveries/{dead.id}/retry")
    await workers.drain()
    assert len(receiver.received()) == AT_ONCE.attempts + 1
    assert receiver.effects == {f"delivery_{dead.id}"}
