from tests.gpu.conftest import cupy  # noqa: F401  (the fake device)
