"""The worker process around Celery."""

import os
import subprocess
import sys

from posemill.ledger import Ledger
from posemill.names import Priority, Stage, queue_list, queue_name
from posemill.settings import Settings
from posemill.storage import Store


def test_a_worker_that_celery_gave_up_does_not_end_as_if_all_were_well(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    ledger.redis.set(
        queue_list(queue_name(Stage.DETECT), Priority.NORMAL), "no list"
    )  # an error that retrying cannot mend
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.worker", "detect"],
        env=os.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "stopped consuming by itself" in done.stderr
