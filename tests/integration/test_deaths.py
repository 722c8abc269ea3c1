"""What a supervisor's reports of ended workers say to the ledger."""

import pytest

from posemill.contract.keys import Stage
from posemill.queue.death_reports import DeathReports, _delay_seconds
from posemill.queue.ledger import History, Ledger, OnDevice, Verdict
from posemill.settings import Settings, worker_id
from tests.chaos.tcp_proxy import TcpProxy
from tests.conftest import wait_until
from tests.integration.test_ledger import PLAN
from tests.planned import open_in_ledger

RUN, PID = "r", 4711


@pytest.fixture
def busy(ledger: Ledger) -> Ledger:
    """Batch 0 is on the device of a worker, batch 1 in its hands."""
    open_in_ledger(ledger, RUN, PLAN)
    fences = [ledger.claim(RUN, Stage.GENERATE, batch, 30).fence for batch in (0, 1)]
    note = OnDevice(run_id=RUN, stage=Stage.GENERATE, batch=0, fence=fences[0], alone=False)
    ledger.note_device(worker_id(PID), note, seconds=60)
    return ledger


def histories(ledger: Ledger) -> list[History]:
    return [ledger.history(RUN, Stage.GENERATE, batch) for batch in (0, 1)]


@pytest.mark.parametrize(("status", "words"), [(-9, "signal 9"), (75, "exit status 75")])
def test_a_worker_s_death_charges_what_was_on_its_device(
    busy: Ledger, settings: Settings, status: int, words: str
) -> None:
    DeathReports(settings)(PID, status)
    wait_until(lambda: histories(busy)[0].deaths == 1, seconds=10)
    assert histories(busy) == [History(claims=1, deaths=1, error=f"its worker ended with {words}"), History(claims=1)]
    wait_until(lambda: busy.claim(RUN, Stage.GENERATE, 0, 30).verdict is Verdict.CLAIMED, seconds=5)


def test_a_worker_that_ended_well_or_another_one_charges_nothing(busy: Ledger, settings: Settings) -> None:
    reports = DeathReports(settings)
    reports(PID, 0)
    reports(PID + 1, -9)
    for _ in range(2):
        reports(PID + 2, -9)  # when the second is taken up, all before it have been told
    wait_until(reports._ends.empty, seconds=10)
    assert histories(busy) == [History(claims=1), History(claims=1)]


def test_a_death_during_an_outage_is_told_afterwards(busy: Ledger, settings: Settings) -> None:
    with TcpProxy(settings.redis_url.get_secret_value()) as proxy:
        away = settings.model_copy(update={"redis_url": type(settings.redis_url)(proxy.url)})
        reports = DeathReports(away)
        proxy.refuse()
        reports(PID, -9)
        wait_until(reports._ends.empty, seconds=10)
        assert histories(busy)[0].deaths == 0
        proxy.answer()
        wait_until(lambda: histories(busy)[0].deaths == 1, seconds=10)


def test_the_delay_after_a_death_doubles_and_is_bounded() -> None:
    assert [_delay_seconds(deaths) for deaths in (1, 2, 3, 6, 7, 8, 10_000)] == [0.5, 1, 2, 16, 30, 30, 30]
