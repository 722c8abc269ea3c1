"""When a worker must end itself."""

import pytest

from posemill.settings import Settings
from workers.batches.watchdog import EXIT_STATUS, Watchdog, no_progress

SETTINGS = Settings(stuck_seconds=100, deaf_seconds=50)


@pytest.mark.parametrize(
    ("held", "still", "waiting", "ends"),
    [
        pytest.param(1, 99, 0, False, id="working"),
        pytest.param(1, 101, 0, True, id="stuck in a batch"),
        pytest.param(0, 1000, 0, False, id="nothing to do"),
        pytest.param(0, 1000, 51, True, id="deaf"),
        pytest.param(2, 60, 60, False, id="busy while messages wait"),
    ],
)
def test_a_worker_ends_when_it_makes_no_progress(held: int, still: float, waiting: float, ends: bool) -> None:
    assert bool(no_progress(held=held, still_seconds=still, waiting_seconds=waiting, settings=SETTINGS)) is ends


def test_messages_count_as_waiting_only_since_the_queue_was_last_empty() -> None:
    now, queued, ended = [0.0], [0], []
    dog = Watchdog(
        SETTINGS,
        held=lambda: 0,
        stepped=lambda: 0.0,
        queued=lambda: queued[0],
        end=ended.append,
        clock=lambda: now[0],
    )
    now[0] = 1000.0
    dog.look()
    queued[0] = 3
    now[0] = 1049.0
    dog.look()
    assert ended == []
    now[0] = 1051.0
    dog.look()
    assert ended == [EXIT_STATUS]
