"""The GPU's benchmark: it runs on the fake device, and without one it says what is missing."""

import numpy as np

from tests.benchmark import command, gpu
from tests.gpu.conftest import on_host


def test_every_strategy_of_tinymtls_is_timed(cupy, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu, "ROWS", 16)
    monkeypatch.setattr(gpu, "SIZES", (12, 8, 8))
    monkeypatch.setattr(gpu, "STEPS", 1)
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)  # PyTorch has no fake
    assert command.main(["--device", "cuda", "--rounds", "2", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "a fake device" in out
    assert all(f"tinymtl {name}" in out for name in gpu.STRATEGIES)
    assert (tmp_path / "gpu.csv").read_text().count("\n") == 1 + len(gpu.STRATEGIES)


def test_the_parameters_side_by_side_are_the_models(cupy, monkeypatch):
    monkeypatch.setattr(gpu, "SIZES", (12, 8, 8))
    model = gpu.network()
    *_, weights, biases = gpu.side_by_side(model)
    assert weights.shape == (8, 100)
    np.testing.assert_array_equal(weights[:, 30:40], on_host(model.task_parameters("task 3")[0].data))
    np.testing.assert_array_equal(biases[30:40], on_host(model.task_parameters("task 3")[1].data))


def test_without_a_gpu_one_sentence(capsys):
    assert command.main(["--device", "cuda"]) == 2
    assert "no GPU to use" in capsys.readouterr().err
