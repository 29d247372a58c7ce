"""An actor ends within seconds of SIGTERM or SIGINT, whatever policy and environment do; closing costs no step."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from graphs import categorical_graph
from onnx import TensorProto, helper, numpy_helper
from processes import Place, RunFiles

from dppo.actor.endings import EndSignals
from dppo.protocol.process.household import handle_here_only


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def test_a_signal_is_noticed_whoever_handles_it_and_taken_back() -> None:
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = EndSignals()
    try:
        assert not stop
        signal.signal(signal.SIGTERM, lambda *_: None)  # an environment that takes it for itself
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop.keep()
        assert signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, previous[signal.SIGINT])
    finally:
        stop.close()
        for number, handler in previous.items():
            signal.signal(number, handler)


def test_a_fork_dies_of_sigterm_and_its_parent_does_not_hear_of_it() -> None:
    previous = signal.getsignal(signal.SIGTERM)
    got: list[int] = []
    handle_here_only(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        pid = os.fork()
        if pid == 0:
            time.sleep(20)
            os._exit(0)
        time.sleep(0.1)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        assert got == []
    finally:
        signal.signal(signal.SIGTERM, previous)


ENDLESS = """
import sys, threading, time, numpy as np
sys.path[:0] = {paths!r}
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.actor.watchdog.activity import Activity
from dppo.actor.endings import EndSignals
from dppo.actor.watchdog.thread import Watchdog
stop = EndSignals()
Watchdog(Activity(limit_seconds=60.0), tell=print, must_end=lambda: bool(stop)).start()
print("ready", flush=True)
PolicyRunner(open(sys.argv[1], "rb").read()).act(
    {{"observation": np.zeros((1, 4), np.float32)}}, np.zeros((1, 2), np.float32)
)
"""


def endless_graph() -> bytes:
    """A policy that goes round in a loop for ever."""
    model = onnx.load_model_from_string(categorical_graph(np.zeros((4, 2))))
    value, flag = helper.make_tensor_value_info, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", flag, []), value("x", TensorProto.FLOAT, None)],
        [value("d", flag, []), value("y", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62, np.int64), "trips"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
    model.graph.node.insert(0, helper.make_node("Loop", ["trips", "on", "noise"], ["looped"], body=body))
    for node in list(model.graph.node)[1:]:
        node.input[:] = ["looped" if name == "noise" else name for name in node.input]
    return bytes(model.SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_policy_without_end_does_not_keep_an_actor(place: Place, number: int) -> None:
    graph = place.path / "endless.onnx"
    graph.write_bytes(endless_graph())
    program = ENDLESS.format(paths=[path for path in sys.path if path])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(graph)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(2.0)
        process.send_signal(number)
        _, complaint = process.communicate(timeout=8)
        assert process.returncode == 1
        assert "told to end, and did not" in complaint
    finally:
        process.kill()
        process.wait()


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("close", ["raise", "hang", "leave"])
@pytest.mark.parametrize("actors", ["0", "1"])
def test_what_close_does_costs_nothing(place: Place, close: str, actors: str) -> None:
    run = place.start(
        "train",
        *("--env", "endings:Ending-v0", "--env.kwargs", f'{{"close": "{close}"}}', "--preset", "none"),
        *("--collect.batch-steps", "256", "--run.total-steps", "512", "--run.directory", "run", "--actors", actors),
        *("--evaluation-episodes", "2"),
    )
    place.ends(run, code=0)
    if (close, actors) == ("leave", "0"):  # our own process is gone: what is saved stays
        place.until(lambda: "was ended in the middle of the run" in run.complained(), "its last words")
        assert RunFiles(place.path / "run").summary()["steps"] >= 512
    else:
        assert "2 episodes, most likely actions" in run.said()
    place.leaves_nothing(seconds=3)
