"""What a module holds: one search for parameters, buffers and generators, wherever they are kept."""

from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tinymtl import nn
from tinymtl.autodiff import grad, ops
from tinymtl.autodiff.tensor import tensor
from tinymtl.nn.module import held

Pair = namedtuple("Pair", "first second")


@dataclass
class Branches:
    left: Any
    right: Any = None
    name: str = "branches"
    rest: list = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    inner: Any


class Holder(nn.Module):
    """A module with any attributes."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


def parameter(*shape):
    return nn.Parameter(np.ones(shape, np.float32))


def leaf():
    """One of each kind, in a module."""
    return Holder(p=parameter(2), b=nn.Buffer(np.zeros(2)), g=np.random.default_rng(0))


PLACES = {
    "attribute": lambda x: x,
    "list": lambda x: [nn.ReLU(), x],
    "tuple": lambda x: (x,),
    "named tuple": lambda x: Pair(None, x),
    "deque": lambda x: deque([x]),
    "dict": lambda x: {"key": x},
    "dict with other keys": lambda x: {0: 1, ("a", 1): x},
    "ordered dict": lambda x: OrderedDict(a=x),
    "dataclass": lambda x: Branches(x),
    "list in a dataclass": lambda x: Branches(None, rest=[x]),
    "frozen dataclass with slots": lambda x: Frozen(x),
    "dict of lists of dicts": lambda x: {"a": [{"b": x}]},
    "module": lambda x: nn.Sequential(nn.ReLU(), x),
    "module in a dict in a module": lambda x: {"a": Holder(inner={"b": x})},
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_all_three_kinds_are_found_wherever_they_are_kept(place):
    inner = leaf()
    outer = Holder(before=parameter(7), kept=place(inner), after=parameter(8))
    assert [p.shape for p in outer.parameters()] == [(7,), (2,), (8,)]
    assert list(outer.buffers()) == [inner.b]
    assert list(outer.generators()) == [inner.g]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_bare_parameter_buffer_and_generator_are_found_there_too(place):
    for kind, value in (("parameters", parameter(1)), ("buffers", nn.Buffer([1])), ("generators", leaf().g)):
        found = list(getattr(Holder(kept=place(value)), kind)())
        assert len(found) == 1 and found[0] is value


def test_a_layer_in_a_dict_is_moved_too():
    outer = Holder(layers={"one": nn.BatchNorm1d(3)}, counts=nn.Buffer(np.arange(3)))
    assert outer.to("float64") is outer
    assert {p.dtype for p in outer.parameters()} == {np.dtype("float64")}
    assert [b.data.dtype for b in outer.buffers()] == [np.float64, np.float64, np.int64]  # counts stay whole


def test_the_order_is_that_of_the_attributes():
    outer = Holder(z=parameter(1), a={"z": parameter(2), "a": parameter(3)}, m=(parameter(4), [parameter(5)]))
    assert [p.shape for p in outer.parameters()] == [(1,), (2,), (3,), (4,), (5,)]


def test_paths_name_the_attributes():
    outer = Holder(layers=[nn.Linear(2, 3), {"deep": nn.BatchNorm1d(3)}], pair=Branches(parameter(1)))
    assert [path for path, _ in held(outer, nn.Parameter)] == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.deep.weight",
        "layers.1.deep.bias",
        "pair.left",
    ]
    assert [path for path, _ in held(outer, nn.Buffer)] == [
        "layers.1.deep.running_mean",
        "layers.1.deep.running_var",
    ]


def test_what_is_reached_twice_counts_once():
    linear, shared = nn.Linear(2, 2), [parameter(3)]
    outer = Holder(first=linear, layers=[linear, shared], shared=shared)
    outer.weight = linear.weight
    outer.itself = outer
    shared.append(shared)  # even a list in itself
    assert [p.shape for p in outer.parameters()] == [(2, 2), (2,), (3,)]


def test_a_tied_layer_learns_from_both_of_its_uses():
    linear = nn.Linear(3, 3).to("float64")
    tied = nn.Sequential(linear, nn.ReLU(), linear)
    assert list(tied.parameters()) == [linear.weight, linear.bias]
    x = np.random.default_rng(0).standard_normal((5, 3))
    first, second = (nn.Parameter(linear.weight.data) for _ in "ab")
    b = linear.bias.data
    plain = ops.relu(tensor(x) @ first + b) @ second + b
    apart = sum(grad(plain.sum(), [first, second]))
    np.testing.assert_allclose(grad(tied(x).sum(), linear.weight)[0], apart, rtol=1e-12)


def test_what_is_not_searched():
    class Box:
        def __init__(self):
            self.hidden = parameter(1)

    outer = Holder(box=Box(), constant=tensor([1.0], requires_grad=True), names={"a", "b"}, text="abc", kind=Branches)
    assert list(outer.parameters()) == []


@pytest.mark.parametrize("kept", [{nn.ReLU()}, frozenset([nn.Linear(1, 1)]), [{parameter(1)}], {nn.Buffer([1])}])
def test_modules_in_a_set_are_refused(kept):
    with pytest.raises(TypeError, match="a set has no order, .* keep them in a list or a dict"):
        list(Holder(kept=kept).parameters())


def test_a_buffer_holds_numbers():
    assert nn.Buffer([1, 2]).data.dtype.kind == "i"
    values = np.zeros(3, np.float32)
    assert nn.Buffer(values).data is values
    for bad in (["a"], [None], [1j]):
        with pytest.raises((TypeError, ValueError), match="a buffer (holds (text|complex)|has no value at)"):
            nn.Buffer(bad)
