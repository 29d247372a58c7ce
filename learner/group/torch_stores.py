"""Stores and process groups of torch.distributed, as far as learners use them, with their types. Knows nothing else.

Torch exports them at run time, and its stubs do not.
"""

import importlib
import os
import socket
from datetime import timedelta
from typing import Any, Protocol, cast

from torch import Tensor

_distributed: Any = importlib.import_module("torch.distributed")

StoreError: type[RuntimeError] = _distributed.DistStoreError  # a wait was too long


class Store(Protocol):
    """Words by name, which all ranks read and write. Raises RuntimeError where the one that has it is gone."""

    def set(self, key: str, value: bytes) -> None:
        """Write a word."""

    def get(self, key: str) -> bytes:
        """Return a word that is there."""

    def add(self, key: str, amount: int) -> int:
        """Add to a number; return the sum."""

    def check(self, keys: list[str]) -> bool:
        """Whether all are there."""

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        """Wait until all are there. Raises StoreError."""

    def delete_key(self, key: str) -> bool:
        """Forget a word."""

    def num_keys(self) -> int:
        """Return how many words there are."""

    def clone(self) -> "Store":
        """Return another connection to the same words, for another thread."""


class Work(Protocol):
    """Work that goes on in another thread."""

    def wait(self, timeout: timedelta) -> bool:
        """Wait until it is done. Raises RuntimeError where it fails."""


class ProcessGroup(Protocol):
    """Connections between some ranks."""

    def allreduce(self, tensors: list[Tensor]) -> Work:
        """Replace the tensor by its sum over the ranks: the same bits on each of them."""


def prefixed(prefix: str, store: Store) -> Store:
    """Return a part of the store with names of its own."""
    return cast(Store, _distributed.PrefixStore(prefix, store))


def host_store(address: str, port: int, seconds: float) -> Store:
    """Listen at that address alone (torch by itself does on all), and return the store there. Raises OSError."""
    (family, *_), *_ = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    listener = socket.create_server((address, port), family=family)
    return _tcp_store(address, listener.getsockname()[1], seconds, is_master=True, master_listen_fd=listener.detach())


def join_store(address: str, port: int, seconds: float) -> Store:
    """Return the store that another process has at that address. Raises RuntimeError."""
    return _tcp_store(address, port, seconds, is_master=False)


def _tcp_store(address: str, port: int, seconds: float, **how: int) -> Store:
    timeout = timedelta(seconds=seconds)
    return cast(Store, _distributed.TCPStore(address, port, None, timeout=timeout, wait_for_workers=False, **how))


def gloo(store: Store, rank: int, ranks: int, timeout: timedelta) -> ProcessGroup:
    """Connect with the other ranks. Raises RuntimeError where they do not come."""
    return cast(ProcessGroup, _distributed.ProcessGroupGloo(store, rank, ranks, timeout))


def nccl(store: Store, rank: int, ranks: int, timeout: timedelta) -> ProcessGroup:
    """Connect this rank's GPU with those of the others, at the first sum. Raises RuntimeError, as its waits do."""
    # else a wait ends before the sum is there, and torch ends the process where a rank is gone
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    return cast(ProcessGroup, _distributed.ProcessGroupNCCL(store, rank, ranks, timeout))
