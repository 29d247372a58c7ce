"""One learner's session and simulated actors on a network in memory: the world of most tests of the two sessions."""

from collections.abc import Sequence

from simulated_actor import Process
from simulated_learner import SimulatedLearner
from simulated_settings import ROUND_SECONDS

from dppo.actor.session.states import State
from dppo.learner.session.phases import Phase
from dppo.learner.session.session import LearnerSession
from dppo.protocol.messages import Welcome


class Simulation(SimulatedLearner):
    """The whole world: adds calm, in which everything works until a goal is reached."""

    supervised: tuple[str, ...] = ()  # names whose processes are replaced

    def calm(self, rounds: int = 1, steps: int = 2) -> None:
        """Let everything work for so many rounds."""
        for _ in range(rounds):
            for process in self.living:
                self.attach(process)
                self.step(process, steps)
            self.exchange()
            if self.learner is not None and self.learner.cycle.batch.steps >= self.settings.batch_steps:
                self.end_collecting()
                self.exchange()
            self.train()
            self.exchange()
            self.pass_time(ROUND_SECONDS)
            self.exchange()

    def end_collecting(self) -> None:
        """Several learners have their batch together; nothing where there is one."""
        if self.learner is not None and self.settings.learners > 1:
            self._do(self.learner.end_collecting(self.version, self.now))

    def pulse(self, steps: int) -> None:
        """Let every process do a little: much stays on its way, so that the next fault finds something."""
        for process in self.living:
            self.step(process, steps)
        for connection in list(self.connections.values()):
            self.deliver_up(connection, 2)
            self.deliver_down(connection, 2)
        self.train()
        self.pass_time(ROUND_SECONDS)

    def heal(self, names: Sequence[str]) -> None:
        """Start the learner if it is down, drop what is old on its way, and replace missing processes from now on."""
        if self.learner is None:
            self.start_learner()
        for connection in self.connections.values():
            if not connection.open:
                connection.up.clear()
        self.supervised = tuple(names)

    def _supervise(self) -> None:
        for name in self.supervised:
            if not any(process.name == name and process.session.state is not State.DRAINING for process in self.living):
                self.start(name)

    def joined(self, process: Process) -> bool:
        """Whether the learner knows the connection that it has: of an earlier one it need not have noticed the end."""
        assert self.learner is not None
        peer = self.learner.peer_table.peers.get(process.connection.key) if process.connection is not None else None
        return peer is not None and peer.ready

    def run_until_updates(self, updates: int, rounds: int = 2000) -> None:
        """Run calmly until so many more updates are done and all that live have joined."""
        goal = self.updates + updates
        for _ in range(rounds):
            if self.updates >= goal and self.living and all(map(self.joined, self.living)):
                return
            self._supervise()
            self.calm()
        raise AssertionError(
            f"no progress: {self.updates} of {goal} updates, phase {self.learner and self.learner.cycle.phase}, "
            f"states {[(p.name, p.session.state, p.session.policy) for p in self.living]}, notes {self.notes[-5:]}"
        )

    def end(self) -> None:
        """Finish in calm, close the accounts, compare."""
        learner = self.learner
        assert learner is not None
        survivors = self.living
        self.finish()
        for _ in range(200):
            if learner.cycle.phase is Phase.STOPPED:
                break
            self.exchange()
            self.pass_time(ROUND_SECONDS)
        assert learner.cycle.phase is Phase.STOPPED
        learner.close_accounts()
        self.check_end(survivors)


def welcomes(world: Simulation) -> list[Welcome]:
    """Return every WELCOME that this learner sent."""
    return [send.message for send in world.sent if isinstance(send.message, Welcome)]


def learner_of(world: Simulation) -> LearnerSession:
    """Return the session that lives."""
    assert world.learner is not None
    return world.learner


def running(world: Simulation, *names: str) -> list[Process]:
    """Start actors of these names: under a policy, all channels empty, no step taken."""
    processes = [world.start(name) for name in names]
    world.exchange()
    world.train()
    world.exchange()
    assert all(process.session.state is State.RUNNING for process in processes)
    return processes
