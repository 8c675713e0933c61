"""Compile functions of states: entries that are stacked and taken apart again are never stored.

Equations of motion end in ``torch.stack([...], -1)`` and begin with ``unbind(-1)``. Left alone, a compiler for CPUs writes
that stack to memory, one entry beside the other, and computes everything near it number by number instead of by vectors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")

Node = Any
"""An ``fx.Node``, whose arguments are annotated as everything that a graph can hold; here they are nodes and numbers."""
aten = torch.ops.aten
MOST_SUMMED = 8
"""Entries that a sum over a stack adds one by one, at most."""


def compiled(function: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
    """Compile a function of tensors whose last dimension holds entries, one graph per shape.

    With symbolic shapes the products of small networks are slower.

    Args:
        function: returns the same when it is called again, up to rounding.
    """
    return torch.compile(function, dynamic=False, options={"post_grad_custom_pre_pass": Unstacked()})


class Unstacked(CustomGraphPass):
    """Let every reader of one entry of a stack read the entry itself."""

    def __call__(self, graph: fx.Graph) -> None:
        """Rewrite a graph of aten operations in place."""
        entries = _Entries(graph)
        for node in list(graph.nodes):
            if (found := entries.read(node)) is not None:
                node.replace_all_uses_with(found)
        graph.eliminate_dead_code()

    def uuid(self) -> Any:
        """Name this code, for the cache of compiled graphs."""
        return get_hash_for_files((__file__,))


class _Entries:
    """Entries ``[...]`` of nodes ``[..., entry]``, made at most once each.

    Args:
        graph: gets the nodes that are needed.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self._graph = graph
        self._known: dict[tuple[Node, int], Node | None] = {}

    def read(self, node: Node) -> Node | None:
        """Return what ``node`` reads from a stack, without the stack; ``None`` if it reads none."""
        reader = READERS.get(node.target) if node.op == "call_function" else None
        if reader is None or not isinstance(node.args[0], fx.Node):
            return None
        with self._graph.inserting_before(node):
            return reader(self, node)

    def selected(self, node: Node) -> Node | None:
        """Read ``stack.select(-1, index)``."""
        stack, dim, index = node.args
        return self.entry(stack, index) if _is_last(dim, stack) else None

    def unbound(self, node: Node) -> Node | None:
        """Read ``stack.unbind(-1)[index]``."""
        unbind, index = node.args
        if not isinstance(unbind, fx.Node) or unbind.target is not aten.unbind.int:
            return None
        stack, dim = unbind.args[0], unbind.args[1] if len(unbind.args) > 1 else 0
        return self.entry(stack, index) if _is_last(dim, stack) else None

    def summed(self, node: Node) -> Node | None:
        """Read ``stack.sum(-1)``."""
        stack, dims = node.args[0], node.args[1] if len(node.args) > 1 else None
        kept = len(node.args) > 2 and node.args[2]
        if kept or node.kwargs or not dims or len(dims) != 1 or not _is_last(dims[0], stack):
            return None
        if stack.meta["val"].shape[-1] > MOST_SUMMED or not stack.meta["val"].is_floating_point():
            return None
        parts = [self.entry(stack, index) for index in range(stack.meta["val"].shape[-1])]
        if not parts or None in parts:
            return None
        total = parts[0]
        for part in parts[1:]:
            total = self._call(aten.add.Tensor, total, part)
        return total

    def entry(self, node: Node, index: int) -> Node | None:
        """Return ``node[..., index]`` if that can be had without the stack ``node [..., entry]``, else ``None``."""
        size = node.meta["val"].shape[-1]
        key = node, index % size
        if key not in self._known:
            self._known[key] = self._found(node, index % size)
        return self._known[key]

    def _found(self, node: Node, index: int) -> Node | None:
        if node.op != "call_function":
            return None
        if node.target is aten.cat.default:
            return self._piece(node, index)
        if node.target is aten.slice.Tensor and _is_last(node.args[1] if len(node.args) > 1 else 0, node):
            start, _, step = (*node.args[2:], None, None, None)[:3]
            size = node.args[0].meta["val"].shape[-1]
            start = 0 if start is None else max(start + size, 0) if start < 0 else start
            return self.entry(node.args[0], start + index * (step or 1))
        if torch.Tag.pointwise in getattr(node.target, "tags", ()):
            return self._pointwise(node, index)
        return self._moved(node, index)

    def _moved(self, node: Node, index: int) -> Node | None:
        """Return an entry of a view that leaves the last dimension where it is."""
        change = MOVES.get(node.target)
        if change is None or (rest := change(node)) is None:
            return None
        part = self.entry(node.args[0], index)
        return None if part is None else self._call(node.target, part, *rest)

    def _piece(self, cat: Node, index: int) -> Node | None:
        """Return an entry of joined pieces."""
        pieces, dim = cat.args[0], cat.args[1] if len(cat.args) > 1 else 0
        if not _is_last(dim, cat):
            return None
        for piece in pieces:
            size = piece.meta["val"].shape[-1]
            if index < size:
                if piece.meta["val"].dtype != cat.meta["val"].dtype:
                    return None
                if piece.target is aten.unsqueeze.default and _is_last(piece.args[1], piece):
                    return piece.args[0]
                return self.entry(piece, index) or self._call(aten.select.int, piece, -1, index)
            index -= size
        return None

    def _pointwise(self, node: Node, index: int) -> Node | None:
        """Compute an entry of a pointwise operation from the entries of its arguments, if one of them is a stack."""
        size = node.meta["val"].shape[-1]
        tensors = [one for one in node.all_input_nodes if one.meta["val"].dim()]
        floats = {one.meta["val"].dtype for one in node.all_input_nodes if one.meta["val"].is_floating_point()}
        if len(floats) > 1:  # an entry without dimensions would not decide the type of the result any more
            return None
        entries = {one: self.entry(one, index) for one in tensors if one.meta["val"].shape[-1] == size}
        if not any(entries.values()):
            return None
        for one in tensors:
            if entries.get(one) is None:
                entries[one] = self._call(aten.select.int, one, -1, index if one.meta["val"].shape[-1] == size else 0)
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda one: entries.get(one, one))
        return self._call(node.target, *args, **kwargs)

    def _call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """Add a node, with the properties of its result."""
        node = self._graph.call_function(target, args, kwargs)
        values, named = fx.map_arg((args, kwargs), lambda one: one.meta["val"])
        node.meta["val"] = target(*values, **named)
        return node


def _unsqueezed(node: Node) -> tuple[Any, ...] | None:
    dim = node.args[1] % node.meta["val"].dim()
    return None if dim == node.meta["val"].dim() - 1 else (dim,)


def _permuted(node: Node) -> tuple[Any, ...] | None:
    *dims, last = node.args[1]
    return (dims,) if _is_last(last, node) else None


def _expanded(node: Node) -> tuple[Any, ...] | None:
    stack, sizes = node.args[0].meta["val"], node.meta["val"].shape
    return (list(sizes[:-1]),) if stack.shape[-1] == sizes[-1] else None


MOVES: dict[Any, Callable[[Node], tuple[Any, ...] | None]] = {
    aten.unsqueeze.default: _unsqueezed,
    aten.permute.default: _permuted,
    aten.expand.default: _expanded,
}
"""Views, and what they take after the tensor when they are made of one entry; ``None`` if they move the last dimension."""

READERS: dict[Any, Callable[[_Entries, Node], Node | None]] = {
    aten.select.int: _Entries.selected,
    operator.getitem: _Entries.unbound,
    aten.sum.dim_IntList: _Entries.summed,
}
"""Operations that read single entries of a stack."""


def _is_last(dim: int, node: Node) -> bool:
    """Say whether ``dim`` is the last dimension of a node."""
    value = node.meta["val"]
    return isinstance(value, Tensor) and value.dim() > 0 and dim % value.dim() == value.dim() - 1
