"""The engine: tensors, the recorded graph, the reverse sweep, and the operations."""

from tinymtl.autodiff.gradcheck import check_gradient, gradient_error
from tinymtl.autodiff.recording import checking, no_grad
from tinymtl.autodiff.tensor import Tensor, grad, record, sweep

__all__ = ["Tensor", "check_gradient", "checking", "grad", "gradient_error", "no_grad", "record", "sweep"]
