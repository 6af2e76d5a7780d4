"""How long a retry waited after its gateway was lost, and what hindered it: nobody answers while Kafka is away."""

from itertools import count

import pytest

from tests.acceptance.chaos.journal import Away, Journal
from tests.acceptance.chaos.retries import CUT_OFF, Attempt, Cut, Hindrance, sort

GATEWAYS = ("gateway", "gateway-2")
# Cut off at 10 s, accepted at 14.
CUT = Cut(
    7, [Attempt(9, 10, 0, CUT_OFF), Attempt(10.5, 11, 1, "409 request_in_flight"), Attempt(13, 14, 1, "accepted")]
)


@pytest.mark.parametrize(
    ("away", "hindrance", "waited_s"),
    [
        ([], Hindrance.NONE, 4),
        ([Away("gateway", 10, 15)], Hindrance.NONE, 4),
        ([Away("Kafka", 5, 10), Away("Postgres", 14, 20)], Hindrance.NONE, 4),  # before, and after
        ([Away("Valkey", 9, 15), Away("worker-1", 9, 15)], Hindrance.NONE, 4),  # an answer needs neither
        ([Away("gateway", 10, 11), Away("gateway-2", 11, 13)], Hindrance.NONE, 4),  # one after the other
        ([Away("gateway", 10, 12), Away("gateway-2", 11, 13)], Hindrance.GATEWAYS, 2),
        ([Away("gateway", 10, 12), Away("gateway-2", 11, 13), Away("Kafka", 9, 13.5)], Hindrance.SERVICE, 0.5),
        ([Away("Postgres", 9, 11), Away("Kafka", 12, 13)], Hindrance.SERVICE, 1),
        ([Away("Kafka", 9, 15)], Hindrance.SERVICE, 0),  # accepted before it was found to be back
    ],
)
def test_a_retry_waits_from_when_somebody_could_answer_it(
    away: list[Away], hindrance: Hindrance, waited_s: float
) -> None:
    (found,) = sort([CUT], away, GATEWAYS)
    assert (found.hindrance, found.waited_s, found.cut.retried_s) == (hindrance, waited_s, 4)


def test_what_was_away_meanwhile_is_told() -> None:
    (found,) = sort([CUT], [Away("sink", 1, 9), Away("sink", 13, 20), Away("router", 12, 13)], GATEWAYS)
    assert found.beside == [Away("sink", 13, 20), Away("router", 12, 13)]


def test_whoever_waited_the_longest_comes_first() -> None:
    quick = Cut(8, [Attempt(9, 10, 0, CUT_OFF), Attempt(10, 10.1, 1, "accepted")])
    assert [each.cut for each in sort([quick, CUT], [], GATEWAYS)] == [CUT, quick]


def test_a_part_that_is_hit_again_before_it_is_back_has_been_away_once() -> None:
    time_s = count(1)
    journal = Journal(lambda: next(time_s))
    journal.gone("Kafka")
    journal.gone("Kafka")
    journal.back("Kafka")
    journal.gone("sink")
    assert journal.away == [Away("Kafka", 1, 2), Away("sink", 3, 4)]  # the sink is away until now
