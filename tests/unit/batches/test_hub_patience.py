"""A Hub that is away costs a batch nothing, and a run that waits for it too long is paused with the reason."""

import pytest

from posemill.errors import HubAway, RunFault
from posemill.queue.ledger import History
from workers.batches.attempts import hand_back
from workers.batches.hub_patience import HubPatience


def away() -> None:
    raise HubAway("the Hub cannot be reached for owner/name")


@pytest.mark.parametrize("claims", [1, 1000])
def test_a_hub_that_is_away_is_charged_to_no_batch_and_counted_as_no_delay(claims):
    how = hand_back(HubAway("away"), History(claims=claims))
    assert (how.failed, how.put_off, how.error) == (False, False, "away")
    assert 0 < how.delay_seconds <= 75


def test_a_run_is_paused_when_the_hub_was_away_for_too_long():
    now = [0.0]
    patience = HubPatience(900.0, clock=lambda: now[0])
    for now[0] in (0.0, 500.0, 899.0):
        with pytest.raises(HubAway):
            patience.asked(away)
    now[0] = 900.0
    with pytest.raises(
        RunFault, match=r"for 900 s no model could be fetched: the Hub cannot be reached for owner/name"
    ):
        patience.asked(away)
    with pytest.raises(HubAway):  # who unpauses the run gives it as much time again
        patience.asked(away)


def test_an_answer_in_between_begins_the_patience_anew():
    now = [0.0]
    patience = HubPatience(900.0, clock=lambda: now[0])
    with pytest.raises(HubAway):
        patience.asked(away)
    now[0] = 800.0
    assert patience.asked(lambda: "an answer") == "an answer"
    now[0] = 1000.0
    with pytest.raises(HubAway):
        patience.asked(away)
