"""Actors that a relay carries: which connection is whose. Pure."""


class Carried:
    """Connections of actors. A bound one has introduced itself to the learner, over the connection that is up."""

    def __init__(self) -> None:
        self._incarnations: dict[bytes, bytes] = {}  # by connection
        self._connections: dict[bytes, bytes] = {}  # by incarnation
        self._present: set[bytes] = set()  # connections by which something has come

    def __len__(self) -> int:
        """Count the actors."""
        return len(self._incarnations)

    @property
    def incarnations(self) -> list[bytes]:
        """Return the actors that are bound."""
        return list(self._connections)

    @property
    def is_deserted(self) -> bool:
        """Whether no connection is left by which something has come."""
        return not self._present

    def heard(self, connection: bytes) -> None:
        """Note that the connection is there."""
        self._present.add(connection)

    def incarnation(self, connection: bytes) -> bytes:
        """Return the actor on that connection, b"" where none is bound to it."""
        return self._incarnations.get(connection, b"")

    def connection(self, incarnation: bytes) -> bytes | None:
        """Return the connection of that actor, None where it is not known."""
        return self._connections.get(incarnation)

    def bind(self, connection: bytes, incarnation: bytes) -> bool:
        """Note who is on that connection. Return whether the actor was on another one until now."""
        before = self._connections.get(incarnation)
        if before == connection:
            return False
        if before is not None:
            del self._incarnations[before]
        self._incarnations[connection] = incarnation
        self._connections[incarnation] = connection
        return before is not None

    def gone(self, connection: bytes) -> bytes:
        """Forget that connection. Return the actor that was bound to it, b"" where there was none."""
        self._present.discard(connection)
        incarnation = self._incarnations.pop(connection, b"")
        if incarnation:
            del self._connections[incarnation]
        return incarnation

    def unbind_all(self) -> None:
        """Note that all must introduce themselves again."""
        self._incarnations.clear()
        self._connections.clear()

    def clear(self) -> None:
        """Forget all connections."""
        self.unbind_all()
        self._present.clear()
