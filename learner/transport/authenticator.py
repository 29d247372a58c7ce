"""Check of tokens at the port, as they are now; clients that were refused are logged.

Asked by the guard's thread and looked after by the network thread. Knows the book and two clocks; knows no sockets.
"""

import logging
import threading
from collections.abc import Callable

from dppo.learner.transport.credentials import Access
from dppo.learner.transport.token_list import TokenBook
from dppo.protocol.errors import UsageError
from dppo.protocol.log_throttle import LogThrottle
from dppo.protocol.security.curve import Admitted, Denied, ServerSecurity, Verdict, fingerprint

log = logging.getLogger("dppo.security")

SECONDS_BETWEEN_LINES = 1.0  # a thousand refused clients a second must not fill the disk
MOST_SHOWN = 3  # kinds of lines that were left out

Clock = Callable[[], float]


class TokenAuthenticator:
    """The tokens of a running learner."""

    def __init__(self, access: Access, *, wall: Clock, monotonic: Clock, shared: TokenBook = TokenBook()) -> None:
        """wall: seconds since 1970, for expiry. shared: tokens of another learner of the run, which are valid here too.

        Raises UsageError where the files cannot be used.
        """
        self.refused = 0
        self.shared = shared  # replaced as a whole, by another thread
        self._lock = threading.Lock()  # both threads may notice a change
        self._access = access
        self._wall = wall
        self._stamp = access.stamp()  # before reading, so that a change in between is not missed
        self._known = access.book()  # the newest that could be read
        self._book: TokenBook | None = self._known  # None while the file cannot be used
        self._problem = ""
        self._monotonic = monotonic
        self._denials = LogThrottle(growth=1, least_seconds=SECONDS_BETWEEN_LINES)
        self._failures = LogThrottle(growth=1, least_seconds=SECONDS_BETWEEN_LINES)

    def security(self) -> ServerSecurity:
        """Return what the Router needs."""
        return ServerSecurity(self._access.secret_key(), self.admit, self.denied, self.failed)

    def tokens(self) -> bytes:
        """Return the list of tokens as another learner of the run takes it."""
        return self._known.to_json()

    def admit(self, key: bytes) -> Verdict:
        """Return whether to accept that public key. Raises UsageError while the tokens cannot be read."""
        verdict = self._verdict(key)
        if isinstance(verdict, Denied) and self._access.stamp() != self._stamp:  # its token may be brand-new
            self.refresh()
            verdict = self._verdict(key)
        return verdict

    def _verdict(self, key: bytes) -> Verdict:
        book = self._book
        shared = self.shared.verdict(key, self._wall())
        if isinstance(shared, Admitted):
            return shared
        if book is None:
            raise UsageError(self._problem)
        own = book.verdict(key, self._wall())
        return own if isinstance(own, Admitted) or not self.shared.knows(key) else shared

    def denied(self, address: str, key: bytes, reason: str) -> None:
        """Count and log a client that was refused."""
        self.refused += 1
        text = f"{address}, key {fingerprint(key) if key else 'none'}: {reason}"
        if self._denials.count(text, self._monotonic()):
            log.warning("refused: %s", text)

    def failed(self, error: BaseException) -> None:
        """Count and log a client that was refused because the check itself failed."""
        self.refused += 1
        text = f"{error}" if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        if self._failures.count(text, self._monotonic()):
            log.warning("a key could not be checked, and its owner was refused: %s", text)

    def is_valid(self, label: str) -> bool:
        """Whether peers that came by this token may stay; by the newest list that could be read."""
        return any(book.is_valid(label, self._wall()) for book in (self._known, self.shared))

    def refresh(self) -> None:
        """Take note of changed tokens. While they cannot be read no new client is accepted, and that is logged."""
        with self._lock:
            stamp = self._access.stamp()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._book = self._known = self._access.book()
            except UsageError as error:
                self._book, self._problem = None, str(error)
                log.error("%s", error)
            else:
                log.info("the tokens have changed: %d valid", len(self._book.valid(self._wall())))

    def flush(self) -> None:
        """Log how many lines were left out, once it is quiet again."""
        for what, throttle in (("refused", self._denials), ("keys that could not be checked", self._failures)):
            if held := throttle.take_held(self._monotonic()):
                texts = "; ".join(f"{text} ({times})" for text, times in list(held.items())[:MOST_SHOWN])
                log.warning("%s: %d times more, most often %s", what, sum(held.values()), texts)
