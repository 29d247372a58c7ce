"""Check of tokens at the port, as they are now; clients that were refused are logged.

Asked by the guard's thread and looked after by the network thread. Knows the book and two clocks; knows no sockets.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable

from dppo.learner.transport.credentials import Access
from dppo.learner.transport.token_list import TokenBook
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Denied, ServerSecurity, Verdict, fingerprint

log = logging.getLogger("dppo.security")

SECONDS_BETWEEN_LINES = 1.0  # a thousand refused clients a second must not fill the disk

Clock = Callable[[], float]


class TokenAuthenticator:
    """The tokens of a running learner."""

    def __init__(self, access: Access, *, wall: Clock, monotonic: Clock) -> None:
        """wall: seconds since 1970, for expiry. Raises UsageError where the files cannot be used."""
        self.turned_away = 0
        self._lock = threading.Lock()  # both threads may notice a change
        self._access = access
        self._wall = wall
        self._stamp = access.stamp()  # before reading, so that a change in between is not missed
        self._known = access.book()  # the newest that could be read
        self._book: TokenBook | None = self._known  # None while the file cannot be used
        self._trouble = ""
        self._denials = _Seldom("refused", monotonic)
        self._failures = _Seldom("a key could not be checked, and its owner not let in", monotonic)

    def security(self) -> ServerSecurity:
        """Return what the Router needs."""
        return ServerSecurity(self._access.secret_key(), self.admit, self.denied, self.failed)

    def admit(self, key: bytes) -> Verdict:
        """Return whether to accept that public key. Raises UsageError while the tokens cannot be read."""
        verdict = self._verdict(key)
        if isinstance(verdict, Denied) and self._access.stamp() != self._stamp:  # its token may be brand-new
            self.refresh()
            verdict = self._verdict(key)
        return verdict

    def _verdict(self, key: bytes) -> Verdict:
        book = self._book
        if book is None:
            raise UsageError(self._trouble)
        return book.verdict(key, self._wall())

    def denied(self, address: str, key: bytes, reason: str) -> None:
        """Count and log a client that was refused."""
        self.turned_away += 1
        self._denials.say(f"{address}, key {fingerprint(key) if key else 'none'}: {reason}")

    def failed(self, error: BaseException) -> None:
        """Count and log a client that was refused because the check itself failed."""
        self.turned_away += 1
        self._failures.say(f"{error}" if isinstance(error, UsageError) else f"{type(error).__name__}: {error}")

    def is_valid(self, label: str) -> bool:
        """Whether those who came by this token may stay; by the newest list that could be read."""
        return self._known.is_valid(label, self._wall())

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
                self._book, self._trouble = None, str(error)
                log.error("%s", error)
            else:
                log.info("the tokens have changed: %d valid", len(self._book.valid(self._wall())))

    def flush(self) -> None:
        """Log how many lines were left out, once it is quiet again."""
        self._denials.flush()
        self._failures.flush()


class _Seldom:
    """A line a second at most; the next one says how many were left out."""

    def __init__(self, what: str, clock: Clock) -> None:
        self._what = what
        self._clock = clock
        self._lock = threading.Lock()  # the guard's thread says, the network's flushes
        self._said_at: float | None = None
        self._held: Counter[str] = Counter()

    def say(self, text: str) -> None:
        """Say it, or count it."""
        with self._lock:
            if self._is_early():
                if text in self._held or len(self._held) < 100:
                    self._held[text] += 1
                else:
                    self._held["others"] += 1
                return
            self._said_at = self._clock()
        log.warning("%s: %s", self._what, text)

    def flush(self) -> None:
        """Say what was left out, if that is due."""
        with self._lock:
            if not self._held or self._is_early():
                return
            self._said_at = self._clock()
            count, most = self._held.total(), self._held.most_common(3)
            self._held.clear()
        texts = "; ".join(f"{text} ({times})" for text, times in most)
        log.warning("%s: %d times more, most often %s", self._what, count, texts)

    def _is_early(self) -> bool:
        return self._said_at is not None and self._clock() - self._said_at < SECONDS_BETWEEN_LINES
