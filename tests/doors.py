"""A learner's door for tests: a server key, one valid key, and a list of who was turned away."""

from dataclasses import dataclass, field

from dppo.protocol.security.curve import (
    Admitted,
    ClientSecurity,
    Denied,
    ServerSecurity,
    Verdict,
    new_secret_key,
    public_key,
)


@dataclass(repr=False)
class Door:
    """Change `admitted` or `broken` at any time; what happens is in `turned_away` and `failures`."""

    server_secret: bytes = field(default_factory=new_secret_key)
    secret: bytes = field(default_factory=new_secret_key)
    admitted: set[bytes] = field(default_factory=set)
    turned_away: list[tuple[str, bytes, str]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    broken: type[BaseException] | None = None
    asked: int = 0

    def __post_init__(self) -> None:
        self.admitted.add(public_key(self.secret))

    @property
    def server(self) -> ServerSecurity:
        return ServerSecurity(self.server_secret, self._admit, self._denied, self.failures.append)

    @property
    def client(self) -> ClientSecurity:
        return self.client_with(self.secret)

    def client_with(self, secret: bytes) -> ClientSecurity:
        return ClientSecurity(public_key(self.server_secret), secret)

    def _admit(self, key: bytes) -> Verdict:
        self.asked += 1
        if self.broken is not None:
            raise self.broken("the door is broken")
        return Admitted("somebody") if key in self.admitted else Denied("unknown key")

    def _denied(self, address: str, key: bytes, reason: str) -> None:
        self.turned_away.append((address, key, reason))
