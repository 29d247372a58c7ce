"""Makes an environment once, in a process of its own and within a deadline, before anything else is started for a run.

What cannot be made is then one line at once, instead of five actors that die one after the other; and whatever an
environment does to its process (a signal, an exit, threads, children, another directory) is done to none of ours.
"""

import contextlib
import faulthandler
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO

import msgspec

from dppo.local.child_process import ChildProcess
from dppo.local.exit_diagnosis import last_error
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.lifeline import Lifeline, watch_parent
from dppo.protocol.specs import Spec

ANNOUNCE_SECONDS = 2.0  # a wait that is worth a line
CLOSE_SECONDS = 5.0  # for close(), which some simulators need to free a port or a licence
MARGIN_SECONDS = 10.0  # to start Python and to write a stack
LOG_BYTES = 100_000
STDERR = 2  # the descriptor: an environment may put something else into sys.stderr


class Answer(msgspec.Struct, frozen=True):
    """Answer of the probing process."""

    error: str = ""  # "" where there is none
    spec: bytes = b""  # the environment's, as MessagePack: JSON has no infinity


def probe(
    env: EnvSettings,
    note: Callable[[str], None],
    *,
    device: str = "cpu",
    nccl: int = 0,
    slot: int = 0,
    found: Callable[[Spec], None] = lambda spec: None,
    given_up: threading.Event | None = None,
) -> None:
    """Make one environment and reset it (and look for the device). Raises UsageError where that fails.

    nccl: learners that are to add up between GPUs here.
    note: called where it takes so long that a user would wonder.
    found: called with the environment's spec, before the environment is closed.
    given_up: once set, nothing is waited for any more.
    """
    given_up = given_up or threading.Event()
    limit = env.step_timeout_seconds  # 0: as long as it takes
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        lifeline = stack.enter_context(Lifeline())
        answers, theirs = os.pipe()
        stack.callback(os.close, answers)
        process = ChildProcess(
            ["-m", "dppo.local.env_probe", str(theirs), device, str(slot), str(nccl)],
            lifeline,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(theirs,),
        )
        stack.callback(process.kill)
        os.close(theirs)
        process.give_input(msgspec.json.encode(env))
        what = env.id if device == "cpu" else f"{env.id} and a tensor on {device}"
        answer = _read_answer(answers, limit + MARGIN_SECONDS if limit else None, what, note, given_up)
        if given_up.is_set():
            return
        if answer is None:
            raise UsageError(_broken(env, process, log, limit))
        if answer.error:
            raise UsageError(answer.error)
        found(msgspec.msgpack.decode(answer.spec, type=Spec))
        process.wait_at_most(CLOSE_SECONDS)


def _read_answer(
    answers: int, limit: float | None, what: str, note: Callable[[str], None], given_up: threading.Event
) -> Answer | None:
    """Wait for the answer; None where the process ended, or time ran out, or it was given up, without one."""
    began = time.monotonic()
    announced = False
    text = b""
    while True:
        waited = time.monotonic() - began
        if given_up.is_set() or (limit is not None and waited >= limit):
            return None
        if waited >= ANNOUNCE_SECONDS and not announced:
            announced = True
            note(f"making {what} once, to see whether it can be made")
        if select.select([answers], [], [], 0.2)[0]:
            part = os.read(answers, 65536)
            if not part:
                return None
            text += part
            if text.endswith(b"\n"):
                return msgspec.json.decode(text, type=Answer)


def _broken(env: EnvSettings, process: ChildProcess, log: IO[bytes], limit: float) -> str:
    """Return why there was no answer."""
    code = process.wait_at_most(1.0)
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
    words = last_error(log.read().decode(errors="replace"))
    if code is None or words.startswith("environment hung"):
        place = f", in {words.partition(' in ')[2]}" if " in " in words else ""
        return (
            f"cannot make {env.id}: it takes longer than {limit:g} s{place}; "
            "to allow more: --env.step-timeout-seconds (0: for ever)"
        )
    how = how_it_ended(code)
    wrappers = "" if env.wrappers_json == "[]" else f" in {json.loads(env.wrappers_json)}"
    made = f"{env.id} with {json.loads(env.kwargs_json)}{wrappers}"
    return f"cannot make {made}: its process {how}{f': {words}' if words else ''}"


def child() -> None:
    """Make the environment that standard input describes, answer, close it. Runs in the process of its own."""
    append_working_directory()
    watch_parent()
    faulthandler.enable(STDERR)
    answers, device, slot, nccl = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    env = msgspec.json.decode(sys.stdin.buffer.read(), type=EnvSettings)
    os.set_inheritable(answers, False)
    close: Callable[[], None] | None = None
    answer = Answer()
    try:
        if device != "cpu":
            from dppo.learner.devices import check_device, check_nccl

            check_device(device)
            if nccl:
                check_nccl(nccl)
        if env.step_timeout_seconds:
            faulthandler.dump_traceback_later(env.step_timeout_seconds, exit=True, file=STDERR)
        from dppo.actor.envs.env_numbers import Place
        from dppo.actor.envs.first_reset import try_reset
        from dppo.actor.envs.make import make_environments

        environments = make_environments(env, 1, place=Place("probe", slot))
        close = environments.close
        if env.step_timeout_seconds:
            faulthandler.dump_traceback_later(env.step_timeout_seconds, exit=True, file=STDERR)
        try_reset(environments, env.id)
        faulthandler.cancel_dump_traceback_later()
        answer = Answer(spec=msgspec.msgpack.encode(environments.spec))
    except DppoError as error:
        answer = Answer(" ".join(str(error).split()))
    os.write(answers, json.dumps(msgspec.to_builtins(answer)).encode() + b"\n")
    os.close(answers)
    if close is not None:
        with contextlib.suppress(Exception):  # that it cannot be closed is reported by the run itself, if it matters
            close()
    os._exit(0)  # whatever threads the environment has


if __name__ == "__main__":
    child()
