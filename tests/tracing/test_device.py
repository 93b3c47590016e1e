"""The trace and the graph of a model on a device, here the fake one: the same numbers, from a copy on the device."""

from __future__ import annotations

import numpy as np
import pytest

import tinymtl as tm
from tests.gpu.conftest import cupy, on_host  # noqa: F401  (cupy is a fixture)
from tests.tracing.conftest import RULES, STRATEGIES, network, stacked


@pytest.mark.parametrize("make", [network, lambda: stacked(3)], ids=["separate", "stacked"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_trace(cupy, strategy, make):  # noqa: F811
    (here, x, targets), (there, _, _) = make(), make()
    there.to(device="cuda")
    expected = tm.trace(STRATEGIES[strategy](here, RULES["adam"]()), x, targets)
    device_targets = {name: cupy.asarray(target) for name, target in targets.items()}
    found = tm.trace(STRATEGIES[strategy](there, RULES["adam"]()), cupy.asarray(x), device_targets)
    assert found.notes == []
    for a, b in zip(found.turns, expected.turns, strict=True):
        assert type(a.v) is np.ndarray and a.memories == b.memories
        for name in ("losses", "gram", "descent", "predicted_trunk", "predicted_head", "actual", "v", "v_z"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(on_host(there.vector.data), here.vector.data, rtol=1e-4, atol=1e-6)
    assert "<img" in found._repr_html_() and found.to_dict()["dtype"] == expected.dtype


def test_the_graph(cupy):  # noqa: F811
    x = tm.tensor(cupy.asarray(np.array([1.0, 2.0])), requires_grad=True)
    assert "x has value [1, 2] and gradient [2, 4]" in tm.draw((x * x).sum(), x=x).alt
