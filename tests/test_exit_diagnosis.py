"""What the log of a dead process says about its end."""

import pytest

from dppo.local.exit_diagnosis import HUNG, ended_in_order, how_an_actor_ended, last_error
from dppo.protocol.process.exit_codes import how_it_ended

ENVIRONMENT_STACK = """\
  File "/home/me/sim.py", line 105 in advance
  File "/home/me/sim.py", line 92 in step
  File "/home/me/venv/lib/python3.11/site-packages/gymnasium/core.py", line 342 in step
"""
OTHER_THREAD = """\
Thread 0x00007f7dc17306c0 (most recent call first):
  File "/home/me/actor/watchdog/thread.py", line 55 in _run

"""
HELD = f"""\
stepping 4 x Sim-v0 (sync)
Timeout (0:01:00.500000)!
{OTHER_THREAD}Thread 0x00007f7dcc69fb80 (most recent call first):
{ENVIRONMENT_STACK}"""
KILLED = f"""\
stepping 4 x Sim-v0 (sync)
{OTHER_THREAD}Current thread 0x00007f7dcc69fb80 (most recent call first):
{ENVIRONMENT_STACK}
dppo: error: {HUNG}: the interpreter was held for 6 s; its stack is above
"""
MAKING = "joined the learner: making 8 x Sim-v0\na line of the simulator\n"
IN_STEP = f"{MAKING}stepping 8 x Sim-v0 (sync)\nrunning under policy 1\n"
SEGFAULT = f"""\
stepping 4 x Sim-v0 (sync)
Fatal Python error: Segmentation fault

{OTHER_THREAD}Current thread 0x00007f1e99a63b80 (most recent call first):
{ENVIRONMENT_STACK}
{OTHER_THREAD}Extension modules: yaml._yaml, msgspec._core (total: 15)
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("stepping 4 x Sim-v0 (sync)\n", ""),
        ("hello\ndppo: error: no such thing\n", "no such thing"),
        ("dppo: error: no such thing\nresource_tracker: warns\n", "no such thing"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 3\n", "KeyError: 3"),
        (HELD, f"{HUNG}: the interpreter was held for 60 s in advance (sim.py:105)"),
        (KILLED, f"{HUNG}: the interpreter was held for 6 s in advance (sim.py:105)"),
        (SEGFAULT, "Segmentation fault in advance (sim.py:105)"),
    ],
)
def test_last_error(log: str, words: str) -> None:
    assert last_error(log) == words


def test_an_end_in_order_is_told_from_a_process_that_an_environment_took_along() -> None:
    assert ended_in_order("stepping\nactor-0 ends: drained\n")
    assert not ended_in_order("stepping 4 x Sim-v0\n")
    assert not ended_in_order("")


@pytest.mark.parametrize(
    ("code", "said"),
    [(7, "ended with code 7"), (0, "ended with code 0"), (-11, "was killed by SIGSEGV"), (-40, "by signal 40")],
)
def test_deaths(code: int, said: str) -> None:
    assert how_it_ended(code).endswith(said)


def test_a_kill_because_of_a_held_interpreter_is_not_taken_for_one_by_the_system() -> None:
    held = "the interpreter was held for 6 s"
    assert how_an_actor_ended(-9, held, IN_STEP) == "was ended (the interpreter was held for 6 s)"
    assert how_an_actor_ended(-9, "", IN_STEP) == "was killed by SIGKILL" == how_it_ended(-9)
    assert how_an_actor_ended(1, held, IN_STEP).startswith("ended with code 1 (")


@pytest.mark.parametrize("code", [0, 1, 7])
def test_an_actor_that_ended_without_a_word_was_ended_by_its_environment(code: int) -> None:
    ended = f"ended with code {code}"
    assert how_an_actor_ended(code, "", MAKING) == f"{ended}: its environment ended the process while it was made"
    assert how_an_actor_ended(code, "", IN_STEP) == f"{ended}: its environment ended the process in step or reset"
    assert how_an_actor_ended(code, "", "") == ended, "no environment was there yet"
