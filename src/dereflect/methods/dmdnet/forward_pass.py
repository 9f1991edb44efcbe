"""What one forward pass of DMDNet carries from block to block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from dereflect.methods.dmdnet.memory import MemoryTrace
from dereflect.methods.dmdnet.orders import OrderBook
from dereflect.nn.streams import TwoStreams

Watch = Callable[[str, Tensor, Tensor], None]
"""Called with a name and a pair of intermediate results, for tests and figures."""


@dataclass
class ForwardPass:
    """Scan orders to use and to note, traces of the memory modules, and who watches."""

    orders: OrderBook | None = None
    train: bool = False
    """whether traces are wanted"""
    watch: Watch | None = None
    traces: list[MemoryTrace] = field(default_factory=list)
    calls: int = 0
    """DSMamba calls so far; `orders` counts in them"""

    def next_call(self) -> int:
        """The number of the DSMamba call that is about to begin."""
        self.calls += 1
        return self.calls - 1

    def order(self, call: int, stream: str, compute: Callable[[], Tensor]) -> Tensor:
        """The order of a scan, (B, L): forced, or computed; noted in either case."""
        if self.orders is None:
            return compute()
        order = self.orders.lookup(call, stream)
        order = compute() if order is None else order
        self.orders.used[call, stream] = order
        return order

    def look(self, name: str, pair: TwoStreams) -> TwoStreams:
        """Show a pair to whoever watches, and return it."""
        if self.watch:
            self.watch(name, *pair)
        return pair
