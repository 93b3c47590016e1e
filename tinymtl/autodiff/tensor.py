"""Reverse-mode automatic differentiation: a `Tensor`, a recorded graph, and the sweep that walks it backwards.

An operation computes its value, then calls `record(value, (parent, vjp), …)`: for every parent one
vector-Jacobian product, the function that turns the gradient at the result into the gradient at that parent.
A sweep starts at one or more results and visits tensors from the newest to the oldest. Parents are always
older than their children, so a tensor's gradient is complete when its turn comes: no recursion, no visited set.

Gradients of intermediate tensors live in a dictionary of the sweep and die with it. Were they stored on the
tensors, a second sweep (a second task!) would add to what the first one left behind.

Gradients are plain arrays, not tensors: differentiating a gradient (double backward) is not supported.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymtl.arrays import as_numbers, cast
from tinymtl.autodiff.recording import CHANGED, CHECKED, Vjp, checked, mode
from tinymtl.backend import Array, array_module, is_array, to_host
from tinymtl.checks import shown

clock = itertools.count(1)

#: NumPy's functions of one or two arrays that an operation stands for, by name; ops.py fills it.
UFUNCS: dict[str, Callable[..., Any]] = {}

#: NumPy's functions whose results have no gradient to lose.
CONDITIONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isfinite", "isinf", "isnan")


class Tensor:
    """An array that remembers how it was computed. Make one with `tinymtl.tensor`.

    Attributes
    ----------
    data : array
        The values; a NumPy array, or a CuPy array on a GPU.
    grad : array or None
        For a leaf that requires a gradient: what `backward` accumulated. Always None on intermediate tensors.
    requires_grad : bool
        Whether a sweep follows this tensor.
    tick : int
        When it was made or, for a leaf, last changed in place: whatever is computed from it has a later one. 0 is for
        a tensor that shares the memory of its parents, and so changes with them.

    Notes
    -----
    Comparisons (`==` too) are element by element and give arrays of booleans; tensors are hashed by identity, so
    that they may be keys. NumPy and Python take the values of a tensor that requires a gradient only where nothing
    is recorded (`no_grad`): elsewhere the gradient would be lost without a word. `.numpy()`, `.item()`, `.detach()`
    and printing say it outright, and are always allowed.
    """

    __slots__ = ("__weakref__", "data", "edges", "grad", "requires_grad", "tick")

    def __init__(self, data: Array, requires_grad: bool = False):
        if type(data) is not np.ndarray and not is_array(data):
            if not isinstance(data, np.generic):
                raise TypeError(f"a Tensor holds an array, not a {type(data).__name__}: use tm.tensor(values)")
            data = np.asarray(data)  # what NumPy makes of `x - 0.1` for a 0-d x
        self.data = data
        self.grad: Array | None = None
        self.requires_grad = requires_grad
        self.edges: Sequence[tuple[Tensor, Vjp]] = ()
        self.tick = next(clock)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of values."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return self.data.dtype

    def item(self) -> float:
        """The one value of a one-element tensor, as a Python float (on a GPU this waits for the device)."""
        return float(self.data.item())

    def numpy(self) -> Array:
        """The values as a NumPy array: the same memory on the CPU, a copy from a GPU."""
        return to_host(self.data)

    def detach(self) -> Tensor:
        """The same values (shared memory) as a new leaf that no gradient flows through."""
        return Tensor(self.data)

    def backward(self, seed: Any = None) -> None:
        """Add d(self)/d(leaf) to `.grad` of every leaf that requires a gradient.

        Parameters
        ----------
        seed : array of self's shape, default 1 for a one-element tensor
            The gradient to start from.

        Examples
        --------
        >>> import tinymtl as tm
        >>> x = tm.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        array([2., 4.], dtype=float32)
        """
        if not self.requires_grad:
            raise ValueError(
                "backward needs a tensor that depends on one with requires_grad=True; this one is a constant "
                "(was it computed under no_grad, by NumPy, or from gradients? double backward is not supported)"
            )
        start = _seed_for(self, seed)
        if start.shape != self.shape:
            raise ValueError(f"backward takes one seed of shape {self.shape}, not {start.shape}; `grad` takes several")
        for leaf, gradient in sweep([self], [start]).items():
            leaf.grad = _own(gradient if leaf.grad is None else leaf.grad + gradient, leaf)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))  # spelled out: without it Python would find a 0-d tensor empty

    def leave_graph(self, what: str) -> None:
        """Raise a TypeError if `what`, which knows no graph and takes plain values, would cut a gradient off."""
        if self.requires_grad and mode.recording:
            raise TypeError(
                f"{what} would take this tensor's values and lose its gradient: use tinymtl's operations (tm.where, "
                "tm.maximum, tm.stack, tm.concatenate, tm.exp …), or .detach(), .numpy() or .item() to leave the graph"
            )

    def __float__(self) -> float:
        self.leave_graph("float()")
        return self.item()

    def __int__(self) -> int:
        self.leave_graph("int()")
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        self.leave_graph("NumPy")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """`array * tensor` and np.exp(tensor) become tinymtl's operations; other functions see plain arrays."""
        operation = UFUNCS.get(ufunc.__name__) if method == "__call__" and not options else None
        if operation is not None:
            return operation(*inputs)
        for x in inputs:
            if isinstance(x, Tensor) and ufunc.__name__ not in CONDITIONS:
                x.leave_graph(f"np.{ufunc.__name__}")
        return getattr(ufunc, method)(*map(_values, inputs), **options)

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="tensor(")
        return f"tensor({values}, dtype={self.dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.edges:
            raise TypeError(
                "a copy (or pickle) of a computed tensor would have a graph of its own, which leads to no parameter: "
                "copy its .detach()"
            )
        return super().__reduce_ex__(protocol)

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.requires_grad:
            raise TypeError(
                "item assignment would overwrite values that a gradient still needs: "
                "build the tensor from parts with stack or concatenate, or choose between two with where"
            )
        if isinstance(value, Tensor):
            value.leave_graph("item assignment")
        self.data[index] = _values(value)

    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Array:  # type: ignore[override]
        return self.data == _values(other)

    def __ne__(self, other: Any) -> Array:  # type: ignore[override]
        return self.data != _values(other)

    def __lt__(self, other: Any) -> Array:
        return self.data < _values(other)

    def __le__(self, other: Any) -> Array:
        return self.data <= _values(other)

    def __gt__(self, other: Any) -> Array:
        return self.data > _values(other)

    def __ge__(self, other: Any) -> Array:
        return self.data >= _values(other)

    if TYPE_CHECKING:  # attached in ops.py, where each operation and its vjps stand together

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        @property
        def T(self) -> Tensor: ...


def tensor(values: Any, requires_grad: bool = False, dtype: Any = None) -> Tensor:
    """A leaf tensor that holds a copy of `values`.

    Parameters
    ----------
    values : array, number, or nested list of numbers
        A float array keeps its dtype; Python numbers, integers and booleans become float32.
    requires_grad : bool, default False
        Whether sweeps deliver a gradient for it.
    dtype : optional
        "float32" or "float64", to say it outright.

    Raises
    ------
    TypeError
        For values that are not real numbers; while a graph is recorded, for tensors that require a gradient (a copy of
        their values would lose it).

    Examples
    --------
    >>> tensor([[1, 2], [3, 4]]).dtype
    dtype('float32')
    >>> tensor(np.zeros(3)).dtype
    dtype('float64')
    """
    if isinstance(values, Tensor):
        values.leave_graph("tm.tensor")
        values = values.data
    keeps = is_array(values) or isinstance(values, np.generic)
    array = as_numbers(values, "a tensor")
    if dtype is None:
        dtype = array.dtype if keeps and array.dtype.kind == "f" else np.float32
    elif np.dtype(dtype).kind != "f":
        raise TypeError(f"a tensor's dtype is a float such as 'float32' or 'float64', not {shown(dtype)}")
    return Tensor(array_module(array).array(cast(array, dtype, "a tensor")), requires_grad)


def record(data: Any, *edges: tuple[Any, Vjp]) -> Tensor:
    """The result of an operation, with one (parent, vjp) edge for each of its inputs.

    `data` is the value. A vjp gets the gradient at the result, shape (…, *data.shape), and returns the gradient
    at its parent, shape (…, *parent.shape): leading axes pass through. It returns a fresh array, its argument or
    a view of it, never a saved array, and it never writes into its argument. Edges to constants (numbers, arrays,
    tensors that need no gradient) are dropped, and under `no_grad` all of them are.
    """
    out = Tensor.__new__(Tensor)
    out.data = np.asarray(data) if isinstance(data, np.generic) else data  # NumPy turns 0-d results into scalars
    out.grad = None
    out.tick = next(clock)
    followed: list[tuple[Tensor, Vjp]] = []
    recording = mode.recording
    for edge in edges if recording else ():  # a loop, for a list comprehension takes twice as long for one edge
        parent = edge[0]
        if isinstance(parent, Tensor) and parent.requires_grad:
            followed.append(edge if recording != CHECKED else (parent, checked(edge[1])))
    out.edges = followed
    out.requires_grad = bool(followed)
    return out


def sweep(
    outputs: Sequence[Tensor],
    seeds: Sequence[Array],
    targets: Sequence[Tensor] = (),
    leaves: frozenset[Tensor] = frozenset(),
) -> dict[Tensor, Array]:
    """One reverse sweep: from `outputs`, seeded with `seeds`, to the leaves.

    Returns a dictionary with the gradient of every leaf reached and of every tensor in `targets` that was
    reached. If no target is a leaf, the sweep ends when the oldest target's gradient is complete and goes
    no further back. Tensors in `leaves` count as leaves, whatever they were computed from. The arrays may be views
    of one another: read them, or copy them to keep them.
    """
    gradients: dict[Tensor, Array] = {}
    owned: set[Tensor] = set()  # gradients that this sweep allocated by adding, so that it may add in place
    newest_first: list[tuple[int, Tensor]] = []
    wanted = set(targets) if targets else ()  # a set compares by identity, and `==` of tensors is element by element
    oldest = -1
    if wanted and all(target.edges for target in targets):
        oldest = min(target.tick for target in targets)

    def receive(tensor: Tensor, gradient: Array) -> None:
        if tensor not in gradients:
            gradients[tensor] = gradient
            if tensor.edges and tensor not in leaves:
                heappush(newest_first, (-tensor.tick, tensor))
        elif tensor in owned:
            gradients[tensor] += gradient
        else:
            gradients[tensor] = gradients[tensor] + gradient
            owned.add(tensor)

    for output, seed in zip(outputs, seeds, strict=True):
        if output.requires_grad:
            receive(output, seed)
    while newest_first:
        age, tensor = heappop(newest_first)
        tick = -age
        if tick < oldest:
            del gradients[tensor]
            continue
        # every child is newer and has been visited: this gradient is complete
        gradient = gradients[tensor] if tensor in wanted else gradients.pop(tensor)
        if tick == oldest:
            continue
        for parent, vjp in tensor.edges:
            if parent.tick > tick > 0:  # a leaf that has been changed since; 0 is for a view of its parents
                raise RuntimeError(CHANGED)
            receive(parent, vjp(gradient))
    return gradients


def grad(outputs: Any, inputs: Any, seeds: Any = None) -> list[Array]:
    """The gradient of `outputs` with respect to each of `inputs`; touches no `.grad`.

    Parameters
    ----------
    outputs : Tensor or list of Tensor
        Several outputs count as their sum, each weighted by its seed.
    inputs : Tensor or list of Tensor
        Leaves or intermediate tensors that require a gradient.
    seeds : list of arrays, default 1 for one-element outputs
        One per output, of the output's shape. A seed may have extra leading axes, (K, *shape), the same for all
        outputs: each gradient then has them too, one sweep for K directions.

    Returns
    -------
    list of arrays
        One per input, zeros where the outputs do not depend on it. They belong to the caller.

    Examples
    --------
    >>> x = tensor([3.0], requires_grad=True)
    >>> y = x * x
    >>> grad(y, [x, y])
    [array([6.], dtype=float32), array([1.], dtype=float32)]
    """
    outputs = _tensors(outputs, "outputs")
    inputs = _tensors(inputs, "inputs")
    for i, tensor in enumerate(inputs):
        if not tensor.requires_grad:
            raise ValueError(f"input {i} does not require a gradient: make it with requires_grad=True")
    if seeds is None:
        seeds = [None] * len(outputs)
    elif isinstance(seeds, Tensor) or is_array(seeds) or isinstance(seeds, float | int | np.generic):
        seeds = [seeds]
    if len(seeds) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs need as many seeds, {len(seeds)} given")
    arrays = [_seed_for(output, seed) for output, seed in zip(outputs, seeds, strict=True)]
    leading = {array.shape[: array.ndim - out.ndim] for array, out in zip(arrays, outputs, strict=True)}
    if len(leading) > 1:
        raise ValueError(f"the seeds' extra leading axes differ between outputs: {sorted(leading)}")
    (lead,) = leading or {()}
    found = sweep(outputs, arrays, inputs)
    return [
        _own(found[tensor], tensor)
        if tensor in found
        else array_module(tensor.data).zeros(lead + tensor.shape, dtype=tensor.dtype)
        for tensor in inputs
    ]


def ancestors(output: Tensor) -> Iterator[Tensor]:
    """The tensors that `output` was computed from and that a sweep would visit, newest first, `output` included."""
    seen = {output}
    newest_first = [(-output.tick, output)]
    while newest_first:
        _, tensor = heappop(newest_first)
        yield tensor
        for parent, _ in tensor.edges:
            if parent not in seen:
                seen.add(parent)
                heappush(newest_first, (-parent.tick, parent))


def _own(gradient: Array, tensor: Tensor) -> Array:
    """A copy in the tensor's dtype: what a sweep returns may be a view that belongs to others, or a NumPy scalar."""
    copy = gradient.astype(tensor.dtype)
    return np.asarray(copy) if isinstance(copy, np.generic) else copy


def _values(value: Any) -> Any:
    """The array behind a tensor, or an array (or a table) that says more than its numbers; else the value itself."""
    if isinstance(value, Tensor):
        return value.data
    takes = isinstance(value, np.ndarray) or hasattr(value, "to_numpy")
    return as_numbers(value, "an operand") if takes else value


def _tensors(value: Any, what: str) -> list[Tensor]:
    tensors = [value] if isinstance(value, Tensor) else value
    if not isinstance(tensors, list | tuple) or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(
            f"{what} must be a Tensor or a list of Tensors, not {type(value).__name__} "
            "(gradients are plain arrays: double backward is not supported)"
        )
    return list(tensors)


def _seed_for(output: Tensor, seed: Any) -> Array:
    xp = array_module(output.data)
    if seed is None:
        if output.size != 1:
            raise ValueError(f"a tensor of shape {output.shape} is not a scalar: give a seed of that shape")
        ones: Array = xp.ones(output.shape, dtype=output.dtype)
        return ones
    seed = seed.data if isinstance(seed, Tensor) else as_numbers(seed, "a seed")
    array: Array = xp.asarray(cast(seed, output.dtype, "a seed"))
    if array.shape[array.ndim - output.ndim :] != output.shape or array.ndim < output.ndim:
        raise ValueError(f"a seed of shape {array.shape} does not fit an output of shape {output.shape}")
    return array
