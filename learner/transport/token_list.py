"""List of the tokens that let actors join: adding, rotating, revoking. Pure; knows no files, no clock.

Only public keys are in it: a reader of the list cannot join by it. Times are seconds since 1970, because they must mean
the same to another process and after a restart.
"""

from typing import Annotated

import msgspec

from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Admitted, Denied, Verdict, fingerprint

Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
TokenName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+\Z")]


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One token: an actor with the secret half of its key may join while it is valid."""

    name: TokenName
    key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]  # the public half
    created: Seconds
    expires: Seconds | None = None
    revoked: Seconds | None = None  # kept in the list, so that a refusal can say why

    @property
    def id(self) -> str:
        """Tells tokens of one name apart."""
        return fingerprint(bytes.fromhex(self.key))

    @property
    def label(self) -> str:
        """Name and id: what logs say."""
        return f"{self.name}.{self.id}"

    def why_not(self, now: float) -> str:
        """Return why the token admits no client; "" if it does."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else ""


class TokenBook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """All tokens of a run. Changes make a new book."""

    tokens: tuple[Token, ...] = ()

    def __post_init__(self) -> None:
        self.__dict__["_by_key"] = {bytes.fromhex(token.key): token for token in self.tokens}
        self.__dict__["_by_label"] = {token.label: token for token in self.tokens}

    @classmethod
    def from_json(cls, content: bytes) -> "TokenBook":
        """The book that `to_json` wrote. Raises ValueError (msgspec's are) for anything else."""
        book = msgspec.json.decode(content, type=cls)
        if len({token.key for token in book.tokens}) < len(book.tokens):
            raise ValueError("a key is there twice")
        return book

    def to_json(self) -> bytes:
        """Return the contents of the file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    def verdict(self, key: bytes, now: float) -> Verdict:
        """Return whether to accept this public key (32 bytes); one look-up, however many tokens there are."""
        token: Token | None = self.__dict__["_by_key"].get(key)
        if token is None:
            return Denied("unknown key")
        why_not = token.why_not(now)
        return Denied(f"token {token.label} is {why_not}") if why_not else Admitted(token.label)

    def knows(self, key: bytes) -> bool:
        """Whether it is a token's public key, valid or not."""
        return key in self.__dict__["_by_key"]

    def is_valid(self, label: str, now: float) -> bool:
        """Whether peers that came by this token may stay."""
        token: Token | None = self.__dict__["_by_label"].get(label)
        return token is not None and not token.why_not(now)

    def valid(self, now: float) -> list[Token]:
        """The tokens by which one may join."""
        return [token for token in self.tokens if not token.why_not(now)]

    def add(self, name: str, key: bytes, now: float, lifetime_seconds: int | None = None) -> "TokenBook":
        """One more token. Raises UsageError where a valid one has the name."""
        if any(token.name == name for token in self.valid(now)):
            raise UsageError(f"there is a token {name}: choose another name, or `dppo token rotate` for a new secret")
        return self._with(name, key, now, lifetime_seconds)

    def rotate(
        self, name: str, key: bytes, now: float, *, keep_seconds: int, lifetime_seconds: int | None = None
    ) -> "TokenBook":
        """A new secret for that name; the old one is good for so long yet.

        Without a lifetime the new one lives as long as the old one was made for. Raises UsageError where no valid token
        has the name.
        """
        old = self._called(name, now)
        if lifetime_seconds is None and old[-1].expires is not None:
            lifetime_seconds = old[-1].expires - old[-1].created
        limit = int(now) + keep_seconds
        shortened = [
            msgspec.structs.replace(token, expires=min(limit, limit if token.expires is None else token.expires))
            if token in old
            else token
            for token in self.tokens
        ]
        return TokenBook(tuple(shortened))._with(name, key, now, lifetime_seconds)

    def revoke(self, name_or_id: str, now: float) -> "TokenBook":
        """End every valid token of that name, or the one with that id or label. Raises UsageError if there is none."""
        ended = self._called(name_or_id, now)
        return TokenBook(tuple(msgspec.structs.replace(t, revoked=int(now)) if t in ended else t for t in self.tokens))

    def _called(self, name_or_id: str, now: float) -> list[Token]:
        found = [token for token in self.valid(now) if name_or_id in (token.name, token.id, token.label)]
        if not found:
            names = ", ".join(token.label for token in self.valid(now)) or "there is none"
            raise UsageError(f"no valid token is called {name_or_id}; valid: {names}")
        return found

    def _with(self, name: str, key: bytes, now: float, lifetime_seconds: int | None) -> "TokenBook":
        expires = None if lifetime_seconds is None else int(now) + lifetime_seconds
        token = Token(name, key.hex(), int(now), expires)
        try:
            msgspec.convert(msgspec.to_builtins(token), Token)
        except msgspec.ValidationError:
            raise UsageError(f"{name!r} cannot name a token: take up to 64 letters, digits, _ and -") from None
        return TokenBook((*self.tokens, token))
