"""The operations: one function each, the value and one vjp per parent on the same screen.

Every function reads `x`, `y` for the values of its inputs, `z` for its result and `g` for the gradient at the
result. `g` may have leading axes that `z` has not (several gradients in one sweep), so axes are counted from
the end. Numbers and arrays may stand where a tensor may: a Python number, a NumPy scalar, an integer or a mask
never changes a tensor's dtype.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tinymtl.arrays import as_numbers, cast
from tinymtl.autodiff.recording import is_recording
from tinymtl.autodiff.tensor import UFUNCS, Tensor, clock, record
from tinymtl.backend import Array, array_module, is_array

Axis = int | tuple[int, ...] | None


def unbroadcast(g: Array, shape: tuple[int, ...], ndim: int | None = None) -> Array:
    """The adjoint of broadcasting: sum `g` over the axes along which an array of `shape` was repeated.

    Parameters
    ----------
    g : array, shape (…, *result)
        The gradient at the result of broadcasting.
    shape : tuple
        The shape before broadcasting.
    ndim : int, default g.ndim
        The number of axes of the result; any axes that `g` has in front of them are kept.

    Examples
    --------
    >>> unbroadcast(np.ones((2, 3)), (2, 1))
    array([[3.],
           [3.]])
    """
    ndim = g.ndim if ndim is None else ndim
    leading, added = g.ndim - ndim, ndim - len(shape)
    if not added and g.shape[leading:] == shape:
        return g
    if added:
        g = g.sum(axis=tuple(range(leading, leading + added)))
    repeated = tuple(i - len(shape) for i, n in enumerate(shape) if n == 1 and g.shape[leading + i] != 1)
    return g.sum(axis=repeated, keepdims=True) if repeated else g


def fold(g: Array, x: Array, z: Array) -> Array:
    """`unbroadcast` within an operation: `g`, a gradient at the result `z`, back to the shape of the input `x`."""
    return g if g.shape == x.shape else unbroadcast(g, x.shape, z.ndim)


# ---------------------------------------------------------------- arithmetic


def add(a: Any, b: Any) -> Tensor:
    """z = x + y."""
    x, y = operands(a, b)
    z = x + y
    return record(z, (a, lambda g: fold(g, x, z)), (b, lambda g: fold(g, y, z)))


def sub(a: Any, b: Any) -> Tensor:
    """z = x − y."""
    x, y = operands(a, b)
    z = x - y
    return record(z, (a, lambda g: fold(g, x, z)), (b, lambda g: fold(-g, y, z)))


def mul(a: Any, b: Any) -> Tensor:
    """z = x · y."""
    x, y = operands(a, b)
    z = x * y
    return record(z, (a, lambda g: fold(g * y, x, z)), (b, lambda g: fold(g * x, y, z)))


def div(a: Any, b: Any) -> Tensor:
    """z = x / y."""
    x, y = operands(a, b)
    z = x / y
    return record(z, (a, lambda g: fold(g / y, x, z)), (b, lambda g: fold(-g * z / y, y, z)))


def power(a: Any, b: Any) -> Tensor:
    """z = x^y. Where the exponent is a tensor, x must be positive for its gradient (0 is taken at x ≤ 0)."""
    x, y = operands(a, b)
    z = x**y
    xp = array_module(z)

    def log() -> Any:
        return xp.log(xp.where(x > 0, x, xp.ones_like(x))) if is_array(x) else float(np.log(x)) if x > 0 else 0.0

    def slope() -> Any:
        return y * x ** (y - (y != 0))  # y − 1, but for y = 0 the slope is 0 even at x = 0, where x⁻¹ is not defined

    return record(z, (a, lambda g: fold(g * slope(), x, z)), (b, lambda g: fold(g * z * log(), y, z)))


def maximum(a: Any, b: Any) -> Tensor:
    """z = max(x, y), element by element. Where both are equal, each gets half of the gradient."""
    x, y = operands(a, b)
    xp = library(x, y)
    z = xp.maximum(x, y)
    share = (x > y) + (x == y) * z.dtype.type(0.5)  # z's dtype: a float64 here would spread through the sweep
    return record(z, (a, lambda g: fold(g * share, x, z)), (b, lambda g: fold(g * (1 - share), y, z)))


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """z = x where `condition` (an array or a list; what is not 0 counts as true) holds, y elsewhere."""
    x, y = operands(a, b)
    xp = library(x, y)
    condition = condition.data if isinstance(condition, Tensor) else as_numbers(condition, "the condition")
    mask = xp.asarray(condition, dtype=bool)
    z = xp.where(mask, x, y)
    return record(z, (a, lambda g: fold(g * mask, x, z)), (b, lambda g: fold(g * ~mask, y, z)))


def matmul(a: Any, b: Any) -> Tensor:
    """z = x y, the matrix product; leading axes are broadcast, one-dimensional inputs as in NumPy's matmul."""
    x, y = operands(a, b)
    if not (is_array(x) and is_array(y)):
        raise TypeError("a matrix product takes two arrays or tensors: to multiply by a number, use *")
    if x.ndim == 1 or y.ndim == 1:
        return _vector_product(a, b, x, y)
    z = x @ y
    return record(
        z,
        (a, lambda g: _unbroadcast_stack(g @ y.swapaxes(-1, -2), x.shape, z.ndim)),
        (b, lambda g: _unbroadcast_stack(x.swapaxes(-1, -2) @ g, y.shape, z.ndim)),
    )


def _vector_product(a: Any, b: Any, x: Array, y: Array) -> Tensor:
    rows, columns = x.ndim > 1, y.ndim > 1
    a = a if rows else reshape(a if isinstance(a, Tensor) else x, (1, x.size))
    b = b if columns else reshape(b if isinstance(b, Tensor) else y, (y.size, 1))
    z = matmul(a, b)
    shape = z.shape[:-2] + z.shape[-2:-1] * rows + z.shape[-1:] * columns
    return reshape(z, shape)


def _unbroadcast_stack(g: Array, shape: tuple[int, ...], ndim: int) -> Array:
    """`unbroadcast` for the stack axes of a matrix product: the last two axes have their shape already."""
    if ndim == len(shape) and g.shape[g.ndim - ndim :] == shape:
        return g
    flat = g.reshape(g.shape[:-2] + (g.shape[-2] * g.shape[-1],))
    summed = unbroadcast(flat, shape[:-2] + flat.shape[-1:], ndim - 1)
    return summed.reshape(g.shape[: g.ndim - ndim] + shape)


# ---------------------------------------------------------------- elementwise functions


def neg(a: Any) -> Tensor:
    """z = −x."""
    x = operand(a)
    return record(-x, (a, lambda g: -g))


def exp(a: Any) -> Tensor:
    """z = eˣ."""
    x = operand(a)
    z = array_module(x).exp(x)
    return record(z, (a, lambda g: g * z))


def log(a: Any) -> Tensor:
    """z = ln x."""
    x = operand(a)
    return record(array_module(x).log(x), (a, lambda g: g / x))


def sqrt(a: Any) -> Tensor:
    """z = √x."""
    x = operand(a)
    z = array_module(x).sqrt(x)
    return record(z, (a, lambda g: g * 0.5 / z))


def tanh(a: Any) -> Tensor:
    """z = tanh x."""
    x = operand(a)
    z = array_module(x).tanh(x)
    return record(z, (a, lambda g: g * (1 - z * z)))


def sigmoid(a: Any) -> Tensor:
    """z = 1/(1 + e⁻ˣ), from its smaller tail e^−|x|/(1 + e^−|x|): no overflow, and no digit lost on either side."""
    x = operand(a)
    e = array_module(x).exp(-abs(x))
    tail = e / (1 + e)
    return record(abs((x > 0) - tail), (a, lambda g: g * (tail * (1 - tail))))  # z (1 − z) would be 0 at x = 20


def log_sigmoid(a: Any) -> Tensor:
    """z = ln(1/(1 + e⁻ˣ)) = min(x, 0) − ln(1 + e^−|x|). The softplus ln(1 + eˣ) is −log_sigmoid(−x)."""
    x = operand(a)
    xp = array_module(x)
    e = xp.exp(-abs(x))
    return record(xp.minimum(x, 0) - xp.log1p(e), (a, lambda g: g * abs((x <= 0) - e / (1 + e))))


def relu(a: Any) -> Tensor:
    """z = max(x, 0); its gradient at 0 is 0."""
    x = operand(a)
    z = array_module(x).maximum(x, 0)
    return record(z, (a, lambda g: g * (z > 0)))  # a product with the mask: np.where is ten times slower


def softmax(a: Any, axis: int = -1) -> Tensor:
    """zᵢ = e^{xᵢ} / Σⱼ e^{xⱼ} along `axis`."""
    x = operand(a)
    axis = _from_the_end(axis, x.ndim)
    e = array_module(x).exp(wide(x - x.max(axis=axis, keepdims=True)))
    z = (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype, copy=False)
    return record(z, (a, lambda g: z * (g - (g * z).sum(axis=axis, keepdims=True))))


def log_softmax(a: Any, axis: int = -1) -> Tensor:
    """zᵢ = xᵢ − ln Σⱼ e^{xⱼ} along `axis`."""
    x = operand(a)
    xp = array_module(x)
    axis = _from_the_end(axis, x.ndim)
    shifted = wide(x - x.max(axis=axis, keepdims=True))
    z = (shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))).astype(x.dtype, copy=False)
    return record(z, (a, lambda g: g - xp.exp(z) * g.sum(axis=axis, keepdims=True)))


# ---------------------------------------------------------------- reductions


def sum(a: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis` (an int, a tuple, or None for all axes)."""
    x = operand(a)
    axes = _axes(axis, x.ndim)
    z = x.sum(axis=axes, keepdims=keepdims)
    return record(z, (a, lambda g: _spread(g, x, axes, keepdims)))


def mean(a: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis` (an int, a tuple, or None for all axes); of no elements it is an error."""
    x = operand(a)
    axes = _axes(axis, x.ndim)
    count = 1
    for i in axes:
        count *= x.shape[i]
    if count == 0:
        raise ValueError(f"the mean of no elements (shape {x.shape}, axis {axis}) is not defined")
    z = wide(x).sum(axis=axes, keepdims=keepdims) * (1 / count)
    return record(z.astype(x.dtype, copy=False), (a, lambda g: _spread(g * (1 / count), x, axes, keepdims)))


def max(a: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The largest element along `axis` (an int, or None for all axes). Of equal ones the first gets the gradient."""
    x = operand(a)
    xp = array_module(x)
    if axis is None:
        axes = _axes(None, x.ndim)
        winner = (xp.arange(x.size) == x.argmax()).reshape(x.shape)
    else:
        axis = _from_the_end(axis, x.ndim)
        axes = (axis,)
        places = xp.arange(x.shape[axis]).reshape((-1,) + (1,) * (-axis - 1))
        winner = places == xp.expand_dims(x.argmax(axis=axis), axis)
    z = x.max(axis=axes, keepdims=keepdims)
    return record(z, (a, lambda g: _spread(g, x, axes, keepdims) * winner))


def _spread(g: Array, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The adjoint of a sum over `axes` (negative): repeat `g` along them."""
    leading = g.shape[: g.ndim - (x.ndim if keepdims else x.ndim - len(axes))]
    kept = tuple(1 if i - x.ndim in axes else n for i, n in enumerate(x.shape))
    spread: Array = array_module(g).broadcast_to(g.reshape(leading + kept), leading + x.shape)
    return spread


# ---------------------------------------------------------------- shapes


def reshape(a: Any, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be −1."""
    x = operand(a)
    z = x.reshape(*shape)
    return record(z, (a, lambda g: g.reshape(g.shape[: g.ndim - z.ndim] + x.shape)))


def transpose(a: Any, *axes: Any) -> Tensor:
    """The axes in another order; without `axes`, reversed."""
    x = operand(a)
    order = axes[0] if len(axes) == 1 and isinstance(axes[0], list | tuple) else axes
    order = tuple(_from_the_end(i, x.ndim) for i in order) or tuple(range(-1, -x.ndim - 1, -1))
    z = x.transpose(tuple(i + x.ndim for i in order))
    back = tuple(order.index(i - x.ndim) - x.ndim for i in range(x.ndim))

    def vjp(g: Array) -> Array:
        leading = g.ndim - x.ndim
        return g.transpose(tuple(range(leading)) + tuple(i + g.ndim for i in back))

    return record(z, (a, vjp))


def getitem(a: Any, index: Any) -> Tensor:
    """The elements at `index`: integers, slices, None, …, integer arrays or a boolean mask."""
    x = operand(a)
    key = index if isinstance(index, tuple) else (index,)
    if any(isinstance(i, Tensor) for i in key):
        raise TypeError("index with integers or arrays of integers, not with a Tensor: use its .data")
    try:
        z = x[index]
    except IndexError as error:
        if "integer" in str(error):  # it is no index at all; one that is out of range stays an IndexError
            kinds = ", ".join(type(i).__name__ for i in key)
            raise TypeError(f"index with integers, slices or arrays of integers or booleans, not {kinds}") from error
        raise
    basic = all(i is None or i is Ellipsis or isinstance(i, int | np.integer | slice) for i in key)

    def vjp(g: Array) -> Array:
        xp = array_module(g)
        leading = g.shape[: g.ndim - z.ndim]
        out: Array = xp.zeros(leading + x.shape, dtype=g.dtype)
        if basic:
            out[(slice(None),) * len(leading) + key] = g
        else:  # an element may be picked several times: add, do not assign
            for place in np.ndindex(leading):
                xp.add.at(out[(*place, Ellipsis)], index, g[place])
        return out

    return record(z, (a, vjp))


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors one after another along an existing axis."""
    values = _alike(tensors)
    axis = _from_the_end(axis, values[0].ndim)
    z = array_module(values[0]).concatenate(values, axis=axis)
    edges, start = [], 0
    for t, x in zip(tensors, values, strict=True):
        part = (Ellipsis, slice(start, start + x.shape[axis])) + (slice(None),) * (-axis - 1)
        edges.append((t, lambda g, part=part: g[part]))
        start += x.shape[axis]
    return record(z, *edges)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis."""
    values = _alike(tensors)
    axis = _from_the_end(axis, values[0].ndim + 1)
    z = array_module(values[0]).stack(values, axis=axis)
    after = (slice(None),) * (-axis - 1)
    return record(z, *[(t, lambda g, k=k: g[(Ellipsis, k, *after)]) for k, t in enumerate(tensors)])


# ---------------------------------------------------------------- helpers


def operand(a: Any) -> Any:
    """The array of one input; what is neither a tensor nor an array of floats becomes float32."""
    if isinstance(a, Tensor):
        return a.data
    values = as_numbers(a, "an operand")
    return values if values.dtype.kind == "f" and is_array(a) else cast(values, np.float32, "an operand")


def wide(x: Array) -> Array:
    """float16 as float32: its sums would end at 65504, and 1/N have few digits left."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def operands(a: Any, b: Any) -> tuple[Any, Any]:
    """The arrays of two inputs, so that the one that is no tensor does not change the other's dtype."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a = Tensor(operand(a))
    if isinstance(a, Tensor):
        if isinstance(b, Tensor):
            return a.data, b.data
        return a.data, _constant(b, a.data)
    return _constant(a, b.data), b.data


def _constant(value: Any, like: Array) -> Any:
    if isinstance(value, np.generic) and value.dtype.kind in "fiub":
        value = value.item()
    if isinstance(value, float):
        return value  # a Python number takes on the array's dtype, without a 0-d array on the way
    if isinstance(value, int):
        if -1e300 < value < 1e300:
            return value
        raise ValueError(f"a whole number of {value.bit_length()} bits is too large to compute with")
    values = as_numbers(value, "an operand")
    if is_array(value):
        return values if values.dtype.kind == "f" else cast(values, like.dtype, "an operand")
    return array_module(like).asarray(cast(values, like.dtype, "an operand"))


def _alike(tensors: Sequence[Any]) -> list[Array]:
    """The arrays of the inputs that are joined; numbers, lists and integers take on the first tensor's dtype."""
    if not len(tensors):
        raise ValueError("there is nothing to join: give at least one tensor")
    like = next((t.data for t in tensors if isinstance(t, Tensor)), None)
    if like is None:
        return [operand(t) for t in tensors]
    values = [t.data if isinstance(t, Tensor) else _constant(t, like) for t in tensors]
    return [v if is_array(v) else array_module(like).asarray(v, dtype=like.dtype) for v in values]


def library(*values: Any) -> ModuleType:
    """The array library of the first value that is an array, NumPy's where none is."""
    return array_module(next((v for v in values if is_array(v)), None))


def _from_the_end(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} does not exist in a tensor with {ndim} axes")
    return axis if axis < 0 else axis - ndim


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(-ndim, 0))
    return tuple(_from_the_end(i, ndim) for i in (axis if isinstance(axis, tuple) else (axis,)))


_METHODS: dict[str, Any] = {
    "__add__": add,
    "__radd__": lambda a, b: add(b, a),
    "__sub__": sub,
    "__rsub__": lambda a, b: sub(b, a),
    "__mul__": mul,
    "__rmul__": lambda a, b: mul(b, a),
    "__truediv__": div,
    "__rtruediv__": lambda a, b: div(b, a),
    "__pow__": power,
    "__rpow__": lambda a, b: power(b, a),
    "__matmul__": matmul,
    "__rmatmul__": lambda a, b: matmul(b, a),
    "__neg__": neg,
    "__getitem__": getitem,
    "sum": sum,
    "mean": mean,
    "max": max,
    "reshape": reshape,
    "transpose": transpose,
    "T": property(transpose),
}
_IN_PLACE = {"+": operator.iadd, "-": operator.isub, "*": operator.imul, "/": operator.itruediv, "**": operator.ipow}


def _augmented(sign: str) -> Callable[[Tensor, Any], Any]:
    """`t += x` and its like.

    For most tensors t + x under the old name, which loses nothing: sums of losses are written so. A parameter is
    another matter, for the name is often that of a loop over parameters. Under `no_grad` it moves, in place; while a
    graph is recorded, whose gradients may need its old values, it is refused.
    """

    def method(t: Tensor, x: Any) -> Any:
        if t.edges or not t.requires_grad:
            return NotImplemented  # Python goes on to t + x
        if is_recording():
            raise TypeError(
                f"{sign}= on a tensor that requires a gradient would leave it as it is and give its name to a new one: "
                f"under tm.no_grad() it changes in place, and t = t {sign} … says that a new tensor is meant"
            )
        t.data = _IN_PLACE[sign](t.data, x.data if isinstance(x, Tensor) else x)
        t.tick = next(clock)
        return t

    return method


for _sign, _function in _IN_PLACE.items():
    _METHODS[f"__{_function.__name__}__"] = _augmented(_sign)
for _name, _function in _METHODS.items():
    setattr(Tensor, _name, _function)

UFUNCS |= {f.__name__: f for f in (exp, log, sqrt, tanh, maximum, matmul, add, power)}
UFUNCS |= {"subtract": sub, "multiply": mul, "divide": div, "negative": neg}
