"""A connection that ends with many messages unread: libzmq aborts the process where it had stopped reading it."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, tempfile, time
import zmq
from dppo.protocol.transport.dealer import Dealer
from dppo.protocol.transport.router import Router

MESSAGES = 5000
with tempfile.TemporaryDirectory() as directory, zmq.Context() as context:
    endpoint, sender = f"ipc://{directory}/s", context.socket(zmq.DEALER if sys.argv[1] == "router" else zmq.ROUTER)
    sender.linger = 0
    sender.sndhwm = 0
    if sys.argv[1] == "router":
        receiver = Router(endpoint, 10**6)
        sender.connect(endpoint)
        for _ in range(MESSAGES):
            sender.send(b"x" * 100)
    else:
        sender.bind(endpoint)
        receiver = Dealer(endpoint)
        while not receiver.send(b"here"):
            receiver.wait(0.01)
        peer, _ = sender.recv_multipart()
        for _ in range(MESSAGES):
            sender.send_multipart([peer, b"x" * 100])
    time.sleep(0.5)  # for libzmq's thread to take in what it will
    sender.close()
    time.sleep(2.5)  # more than a heartbeat
    for _ in receiver.read():
        pass
    receiver.close()
    print("alive")
"""


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("receiver", ["router", "dealer"])
def test_a_flood_and_the_end_of_its_connection_leave_the_receiver_alive(receiver: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, receiver], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
