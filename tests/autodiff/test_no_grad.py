import threading

import numpy as np
import pytest

from tinymtl.autodiff import no_grad
from tinymtl.autodiff.recording import is_recording
from tinymtl.autodiff.tensor import tensor


@pytest.fixture
def x():
    return tensor([1.0, 2.0], requires_grad=True)


def test_nothing_is_recorded_within(x):
    with no_grad():
        y = x * 2
        assert not is_recording()
    assert (y.requires_grad, list(y.edges)) == (False, [])
    assert is_recording()
    assert (x * 2).requires_grad


def test_a_constant_made_within_stays_one(x):
    with no_grad():
        y = x * 2
    assert y.requires_grad is False
    with pytest.raises(ValueError, match="was it computed under no_grad"):
        y.sum().backward()
    (y * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_an_error_within_ends_it(x):
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (x * 2).requires_grad


def test_nested(x):
    with no_grad():
        with no_grad():
            pass
        assert not (x * 2).requires_grad  # the inner one's end does not end the outer one
    assert (x * 2).requires_grad


def test_one_instance_nested_in_itself(x):
    mode = no_grad()
    with mode, mode:
        assert not is_recording()
    assert is_recording()
    with mode:
        assert not is_recording()
    assert is_recording()


def test_decorator(x):
    @no_grad()
    def evaluate(depth):
        """Doc."""
        assert not is_recording()
        return evaluate(depth - 1) if depth else x * 2

    assert (evaluate.__name__, evaluate.__doc__) == ("evaluate", "Doc.")
    for _ in range(2):
        assert not evaluate(3).requires_grad
        assert is_recording()


def test_decorator_of_a_function_that_raises():
    @no_grad()
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert is_recording()


def in_thread(function):
    """The result of `function` in another thread."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join(timeout=10)
    return result[0]


def test_another_thread_goes_on_recording(x):
    with no_grad():
        assert in_thread(lambda: (x * 2).requires_grad)
        assert not (x * 2).requires_grad


def test_another_threads_no_grad_does_not_reach_this_one(x):
    entered, checked = threading.Event(), threading.Event()

    def other():
        with no_grad():
            entered.set()
            checked.wait(10)
            return (x * 2).requires_grad

    result = []
    thread = threading.Thread(target=lambda: result.append(other()))
    thread.start()
    assert entered.wait(10)
    assert (x * 2).requires_grad
    checked.set()
    thread.join(10)
    assert result == [False]
    assert is_recording()


def test_threads_may_run_one_decorated_function(x):
    barrier = threading.Barrier(2, timeout=10)

    @no_grad()
    def evaluate():
        barrier.wait()  # both are within
        return is_recording()

    inside, after = [], []

    def run():
        inside.append(evaluate())
        after.append(is_recording())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (inside, after) == ([False, False], [True, True])


def test_a_sweep_needs_no_recording(x):
    y = (x * x).sum()
    with no_grad():
        y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])
