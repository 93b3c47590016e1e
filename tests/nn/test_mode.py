"""Training and evaluation: what sets the mode, for which thread, and what asks for it."""

import threading

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.nn import evaluating, is_training, training


def test_a_plain_call_trains_and_contexts_nest():
    assert is_training()
    with evaluating():
        assert not is_training()
        with training():
            assert is_training()
            with evaluating():
                assert not is_training()
            assert is_training()
        assert not is_training()
    assert is_training()


def test_an_exception_restores_the_mode():
    with pytest.raises(ZeroDivisionError), evaluating():
        _ = 1 / 0
    assert is_training()


def test_as_a_decorator():
    @evaluating()
    def mode(depth):
        return [is_training()] + (mode(depth - 1) if depth else [])

    assert mode(2) == [False] * 3
    assert is_training()


def test_only_the_thread_that_entered_it_is_affected():
    barrier = threading.Barrier(2, timeout=10)
    seen = {}

    def run(name, mode):
        with mode:
            barrier.wait()  # both are within
            seen[name] = is_training()
            barrier.wait()

    with evaluating():
        threads = [
            threading.Thread(target=run, args=arguments) for arguments in (("a", evaluating()), ("b", training()))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not is_training()
    assert seen == {"a": False, "b": True}
    fresh = []
    with evaluating():
        thread = threading.Thread(target=lambda: fresh.append(is_training()))
        thread.start()
        thread.join(10)
    assert fresh == [True]


def test_what_is_recorded_is_another_question():
    layer, x = tm.nn.Dropout(0.5), np.ones((20, 20), np.float32)
    with tm.no_grad():
        assert (layer(x).data == 0).any()
    weight = tm.tensor(x, requires_grad=True)
    with evaluating():
        out = layer(weight * 3)
    assert out.requires_grad and (out.data == 3).all()


class Asking(tm.nn.Module):
    """A trunk that notes in which mode it was run."""

    def __init__(self):
        self.linear = tm.nn.Linear(3, 4)
        self.modes = []

    def forward(self, x):
        self.modes.append(is_training())
        return self.linear(x)


def test_predict_evaluates():
    model = tm.SharedBottom(Asking(), [tm.Task("a", tm.nn.Linear(4, 2), tm.cross_entropy)])
    with training():
        model.predict(np.ones((2, 3)))
    assert model.trunk.modes == [False]
    assert is_training()
