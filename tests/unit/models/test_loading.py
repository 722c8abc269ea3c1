"""What is raised while a model is loaded is the run's fault, but for short memory and broken downloads."""

import pytest
import requests
import torch
from safetensors import SafetensorError

from posemill.errors import LeaseLost, OutOfMemory, RecipeError, RunFault, TransientError
from workers.models.loading import loading


class Panic(BaseException):
    """As Rust libraries raise it: no Exception."""


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def answered(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("answer", response=response)


@pytest.mark.parametrize(
    "error",
    [SafetensorError("header too short"), Panic("in Rust"), AttributeError("x"), TypeError("x"), EOFError(),
     AssertionError(), ZeroDivisionError(), StopIteration(), ImportError("no xformers"), answered(404), answered(401)],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_a_library_raises_is_the_run_s_fault_in_words(error):
    with pytest.raises(RunFault, match=r"the model 'm' cannot be loaded: .+") as raised, loading("the model 'm'"):
        raise error
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")], ids=["cpu", "cuda"])
def test_short_memory_is_no_fault_of_the_run(error):
    with pytest.raises(OutOfMemory), loading("the model 'm'"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        caused(OSError("cannot find it in the cache"), requests.ConnectionError("refused")),
        caused(RunFault("the weights cannot be loaded"), requests.Timeout()),
        ConnectionResetError(), answered(503), answered(429),
    ],
)  # fmt: skip
def test_a_download_that_broke_off_is_tried_again(error):
    with pytest.raises(TransientError), loading("the model 'm'"):
        raise error


@pytest.mark.parametrize("error", [RecipeError("x"), RunFault("x"), LeaseLost("x"), KeyboardInterrupt(), SystemExit(1)])
def test_posemill_s_own_errors_and_requests_to_end_pass(error):
    with pytest.raises(type(error)), loading("the model 'm'"):
        raise error
