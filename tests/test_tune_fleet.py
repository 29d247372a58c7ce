"""A search whose trials have one standing fleet of actors: keys, addresses, and a real search of three trials."""

import json
import signal
import stat
from pathlib import Path

import pytest
from processes import Dppo, Place, RunFiles, assert_closes

from dppo.actor.driver import ActorDriver
from dppo.actor.session.session import ActorSession
from dppo.cli import main
from dppo.learner.transport.run_keys import RunKeys
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import Bye, FromLearner, Reject
from dppo.protocol.security.join_line import JoinLine
from dppo.settings.layers import resolve
from dppo.settings.tune_arguments import TuneConfig
from dppo.tune.fleet import STAY_SECONDS, invitation, places
from scripts.ports import free_port

ADDRESS = "127.0.0.1"


def config_of(**settings: object) -> TuneConfig:
    return resolve(TuneConfig, flags={"env.id": "CartPole-v1", **settings}).config


def test_each_job_has_an_address_and_all_have_one_token(tmp_path: Path) -> None:
    port = free_port(following=1)
    config = config_of(bind=f"tcp://{ADDRESS}:{port}", jobs=2, advertise="h1")
    found = places(config, tmp_path)
    lines = [JoinLine.parse(place.join_file.read_text(encoding="utf-8")) for place in found]
    assert [line.address for line in lines] == [f"h1:{port}", f"h1:{port + 1}"]
    assert [place.bind for place in found] == [f"tcp://{ADDRESS}:{port}", f"tcp://{ADDRESS}:{port + 1}"]
    assert len({(line.server_key, line.token_id, line.secret) for line in lines}) == 1
    (key_file,) = {place.key_file for place in found}
    assert RunKeys.read(key_file).join_line().secret == lines[0].secret
    secrets = [key_file, *(place.join_file for place in found)]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in secrets)
    again = [place.join_file.read_text(encoding="utf-8") for place in places(config, tmp_path)]
    assert [JoinLine.parse(text) for text in again] == lines  # a search that goes on takes actors that still wait


def test_the_line_to_paste_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    found = places(config_of(bind=f"tcp://{ADDRESS}:{free_port()}"), tmp_path)
    secret = found[0].join_file.read_text(encoding="utf-8").strip()
    assert f"--join {secret} --count auto --stay-seconds {STAY_SECONDS}" in "\n".join(
        invitation(found, shows_secrets=True)
    )
    quiet = "\n".join(invitation(found, shows_secrets=False))
    assert secret not in quiet
    assert f"dppo actor --join-file {found[0].join_file}" in quiet


def test_without_an_address_there_is_no_fleet(tmp_path: Path) -> None:
    assert places(config_of(), tmp_path) == ()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"bind": "tcp://0.0.0.0"}, "no address with a port"),
        ({"bind": "ipc://x"}, "no address with a port"),
        ({"jobs": 0}, "jobs=0"),
        ({"advertise": "h1"}, "add --bind"),
        ({"bind": "tcp://localhost:5555"}, "address in numbers"),
        ({"bind": "tcp://0.0.0.0:65535", "jobs": 2}, "ports from 1"),
        ({"bind": "tcp://0.0.0.0:5555", "advertise": "h1:6"}, "a host alone"),
        ({"bind": "tcp://192.0.2.1:5555"}, "cannot listen"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(settings: dict[str, object], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        places(config_of(**settings), tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_actors_stay_for_a_time_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["actor", "--learner", "ipc://x", "--stay-seconds", "-1"])
    assert end.value.code == 2
    assert "stay_seconds=-1 must be at least 0" in capsys.readouterr().err


def test_an_actor_knows_that_its_run_is_over_or_that_another_one_has_come() -> None:
    def ends_by(message: FromLearner) -> bool:
        driver = ActorDriver(
            ActorSession(actor="h1", incarnation=b"12345678", envs=1, release="x"), note=lambda text: None
        )
        driver.connected()
        driver.handle(message, None)
        assert driver.exit is not None
        assert not driver.has_joined
        return driver.exit.is_of_run

    assert ends_by(Bye("the run is over"))
    assert ends_by(Reject("run", "this is run b, the actor belongs to run a", fatal=True))
    assert not ends_by(Reject("token", "your token has ended", fatal=True))
    assert not ends_by(Reject("protocol", "install the same release", fatal=True))


def search(place: Place, port: int, *more: str) -> Dppo:
    """Start a search of three trials of a second each, all of whose runs stay."""
    (place.path / "space.yaml").write_text("ppo.gamma: {choices: [0.9, 0.95, 0.98]}\n", encoding="utf-8")
    return place.start(
        *("tune", "CartPole-v1", "--bind", f"tcp://{ADDRESS}:{port}", "--trials", "3", "--check-seeds", "0"),
        *("--steps", "2000", "--space", "space.yaml", "--no-prune", "--collect.envs-per-actor", "2", *more),
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_standing_actors_serve_every_trial() -> None:
    pytest.importorskip("optuna")
    with Place() as place:
        tune = search(place, free_port())
        folder = place.path / "runs" / "CartPole-v1-tune"
        join = folder / "access" / "join"
        place.until(join.exists, "the search has a join line", during=tune)
        fleet = place.start("actor", "--join-file", str(join), "--count", "2", "--name", "h1", "--stay-seconds", "90")
        pids = place.until(lambda: len(fleet.actors()) == 2 and fleet.actors(), "actors run", during=fleet)
        ledgers: dict[str, dict[str, object]] = {}

        def over() -> bool:
            for file in folder.glob("*/seed-*/ledger.json"):
                if (file.parent / "summary.json").exists():
                    ledgers[str(file.parent.relative_to(folder))] = RunFiles(file.parent).ledger()
            assert fleet.actors() == pids, fleet.complained()  # neither started again nor others
            return tune.process.poll() is not None

        place.until(over, "the search ends", seconds=280)
        place.ends(tune, code=0)
        assert [record["state"] for record in json.loads((folder / "trials.json").read_bytes())] == ["complete"] * 3
        assert ledgers  # of trials that are not the best, the folder is removed, at times before it is looked at
        for ledger in ledgers.values():
            assert_closes(ledger)
        said = fleet.complained()
        assert said.count("h1-0 is done: ") == said.count("h1-1 is done: ") == 3, said
        fleet.signal(signal.SIGINT)
        place.ends(fleet, code=0)
        place.leaves_nothing()
