"""Networks: layers, losses, and the shared-bottom model."""

from tinymtl.nn.layers import (
    MLP,
    Conv2d,
    Dropout,
    Flatten,
    LeNet,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
)
from tinymtl.nn.losses import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss
from tinymtl.nn.parameters import Parameter
from tinymtl.nn.shared_bottom import SharedBottom, Task

__all__ = [
    "MLP",
    "Conv2d",
    "Dropout",
    "Flatten",
    "LeNet",
    "Linear",
    "MaxPool2d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "SharedBottom",
    "Task",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "l1_loss",
    "mse_loss",
]
