"""End an actor's process on a signal, also where an environment blocks the exit. Knows signals."""

import contextlib
import logging
import os
import signal
import sys
import threading

from dppo.actor.driver import ActorDriver
from dppo.actor.watchdog.traceback_location import place_of_frame
from dppo.protocol.process.descendants import descendants, kill
from dppo.protocol.process.household import handle_here_only

log = logging.getLogger("dppo.actor")

CLOSE_SECONDS = 2.5  # for environments to close; what they had to deliver is delivered
NUMBERS = (signal.SIGTERM, signal.SIGINT)


class EndSignals:
    """SIGTERM and SIGINT, noticed also while the main thread is in C code, or an environment handles them itself.

    Made and looked after in the main thread; may be asked in any.
    """

    def __init__(self) -> None:
        self._told = False
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self.keep()

    def __bool__(self) -> bool:
        """Whether one has come."""
        if not self._told:
            with contextlib.suppress(OSError):
                self._told = any(number in NUMBERS for number in os.read(self._reading, 4096))
        return self._told

    def keep(self) -> None:
        """Take the signals back where an environment has taken them for itself."""
        for number in NUMBERS:
            if signal.getsignal(number) != self._came:
                handle_here_only(number, self._came)

    @property
    def fd(self) -> int:
        """The pipe in which C code notes signals, also while something holds the interpreter."""
        return self._reading

    def close(self) -> None:
        """Listen no longer."""
        signal.set_wakeup_fd(-1)
        os.close(self._writing)
        os.close(self._reading)

    def _came(self, number: int, frame: object) -> None:
        self._told = True


def close_environments(driver: ActorDriver, farewell: str, code: int) -> None:
    """Close them; where one hangs in that, say so and leave with that last line and exit code all the same."""

    def leave() -> None:
        place = place_of_frame(sys._current_frames().get(main))
        log.warning("closing the environments takes more than %g s (%s): leaving them", CLOSE_SECONDS, place)
        if code:
            print(f"dppo: error: {farewell}", file=sys.stderr, flush=True)
        else:
            log.info(farewell)
        with contextlib.suppress(Exception):
            logging.shutdown()
        kill(descendants(os.getpid()))
        os._exit(code)

    main = threading.get_ident()
    timer = threading.Timer(CLOSE_SECONDS, leave)
    timer.daemon = True
    timer.start()
    try:
        driver.close()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a simulator raises: it is not needed any more
        log.warning("closing the environments failed: %s: %s", type(error).__name__, error)
    finally:
        timer.cancel()
