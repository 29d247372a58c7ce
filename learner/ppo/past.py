"""Batches before the one that is trained on, as far as updates look back, and as a checkpoint keeps them."""

import msgspec

from dppo.learner.ppo.burn_in import BurnIn
from dppo.learner.ppo.reuse import EarlierBatches
from dppo.protocol.errors import ProtocolError
from dppo.protocol.specs import Spec


class _Packed(msgspec.Struct, array_like=True):
    earlier: bytes = b""
    burn_in: bytes = b""
    idle: list[int] = []


class Past:
    """Batches that are trained on again, and rollouts that a memory runs over again."""

    def __init__(self, spec: Spec, reuse: int) -> None:
        """spec: of the rollouts. reuse: batches of an update, the new one included."""
        self._spec = spec
        self.earlier = EarlierBatches(reuse)
        self.burn_in = BurnIn()

    def packed(self) -> bytes:
        """Return all as bytes, without what is more than a checkpoint takes; b"" where there is nothing."""
        earlier, burn_in = self.earlier.packed(self._spec), self.burn_in.packed(self._spec)
        packed = _Packed(earlier, burn_in, self.burn_in.idle)
        return msgspec.msgpack.encode(packed) if earlier or burn_in else b""

    def load(self, packed: bytes) -> None:
        """Have what was packed, and nothing else. Raises ProtocolError where `packed` did not make it."""
        try:
            kept = msgspec.msgpack.decode(packed, type=_Packed) if packed else _Packed()
        except msgspec.DecodeError as error:
            raise ProtocolError(f"rollouts of a checkpoint cannot be read: {error}") from error
        self.earlier.load(kept.earlier)
        self.burn_in.load(kept.burn_in, kept.idle)
