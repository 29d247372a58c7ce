"""An actor's way to the learner that it joins, where there are several: whom it follows, and when it returns. Pure."""

from collections.abc import Sequence

from dppo.actor.session.actions import Action, Connect, Exit, Note
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import FromLearner, Redirect, Welcome
from dppo.protocol.security.join_line import KEY_BYTES, is_address
from dppo.protocol.transport.endpoints import check_endpoint, leaves_this_machine

MOST_REDIRECTS = 3  # learners of this release send an actor on once
RETURN_SECONDS = 5.0  # without an answer from where it was sent
HOME = Connect("", b"")


class Redirects:
    """Redirects that one actor has been sent, before it has joined."""

    def __init__(self, home: str, *, has_token: bool = False, stays: bool = False) -> None:
        """home: address of the learner that the user named. stays: redirects are not wanted: it is behind a tunnel."""
        self._home = self.learner = home  # the latter: that is asked now
        self._has_token = has_token
        self._count = 0
        self._away = ""  # where it was sent, until there is an answer
        self._since = 0.0
        self._has_joined = False
        self.stays = stays  # what HELLO says

    def take(self, redirect: Redirect, now: float) -> list[Action]:
        """Follow it, or end where it is none to be followed. After WELCOME it is the answer to an earlier HELLO."""
        if self._has_joined:
            return []
        self._count += 1
        if self._count > MOST_REDIRECTS:
            text = f"learners have sent this actor on {self._count} times, and it follows {MOST_REDIRECTS}"
            return [Exit(3, f"{text}: give it the join line of one that is to keep it")]
        wrong = self._why_not(redirect)
        if wrong:
            return [Exit(3, f"the learner at {self._home} sends this actor on {wrong}: it does not go there")]
        self._away = self.learner = redirect.endpoint
        self._since, self.stays = now, True
        text = f"the learner at {self._home} has more actors than the one at {redirect.endpoint}: joining that"
        return [Note(text), Connect(redirect.endpoint, redirect.server_key)]

    def _why_not(self, redirect: Redirect) -> str:
        """Return what is wrong with it, "" where nothing is."""
        try:
            check_endpoint(redirect.endpoint)
        except UsageError as error:
            return f"to what is no address ({error})"
        if not self._has_token:
            leaves = leaves_this_machine(redirect.endpoint)
            return f"to {redirect.endpoint}, which is another machine, without a key" if leaves else ""
        if len(redirect.server_key) != KEY_BYTES or not is_address(redirect.endpoint.removeprefix("tcp://")):
            return f"to {redirect.endpoint} without the key of a learner there"
        return ""

    def heard(self, message: FromLearner) -> None:
        """Note a message of the learner: it is there."""
        if not isinstance(message, Redirect):
            self._away = ""
        self._has_joined |= isinstance(message, Welcome)

    def tick(self, now: float) -> list[Action]:
        """Return to the learner that the user named, where the other one does not answer."""
        if not self._away or now - self._since < RETURN_SECONDS:
            return []
        return self._return(f"no answer from it within {RETURN_SECONDS:g} s")

    def instead(self, actions: Sequence[Action]) -> list[Action]:
        """Return instead of ending, where a learner refuses the connection to which another one has sent this actor."""
        ends = [action for action in actions if isinstance(action, Exit)]
        return self._return(ends[0].reason) if ends and self._away else list(actions)

    def _return(self, why: str) -> list[Action]:
        away, self._away, self.learner = self._away, "", self._home
        return [Note(f"{away}: {why}; back to the learner at {self._home}"), HOME]
