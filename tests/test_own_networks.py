"""Parts of a policy that a user's functions make: found by name, trained, exported, resumed; refused in one line."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch
from gymnasium import spaces
from trainer_batches import acted, assert_bit_equal

from dppo.learner.config import LearnerConfig, NetworkConfig, PpoConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.encoders import example_leaf
from dppo.learner.models.own_networks import inert_layers
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.gradients_analytic import AnalyticGradients
from dppo.learner.ppo.gradients_autograd import AutogradGradients
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.telemetry.tensorboard_graph import network_graph
from dppo.local.network_check import NetworkTrial, Task, check_networks, main
from dppo.networks import Spec
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import spec_of

BOX = gym.spaces.Box(-np.inf, np.inf, (3,))
CONTINUOUS, DISCRETE = spec_of(BOX, gym.spaces.Box(-1, 1, (2,))), spec_of(BOX, gym.spaces.Discrete(3))
PPO = PpoConfig(epochs=2, minibatch_steps=16)
SMALL = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))


WRONG: dict[str, tuple[str, str]] = {
    "missing": ("encoder", r"'own_nets' has no 'missing'"),
    "make_encode": ("encoder", r"did you mean make_encoder\?"),
    "FEW": ("encoder", r"is a int: name a function that makes a module"),
    "raising": ("encoder", r"making it failed: ZeroDivisionError: division by zero"),
    "leaving": ("head", r"making it failed: SystemExit: 0"),
    "numbers": ("encoder", r"returned an object of int: return a torch\.nn\.Module"),
    "halves": ("encoder", r"its parameter weight is torch\.float16, not float32"),
    "images": ("encoder", r"calling it with \(2, 3\) float32 failed: .*(?s:.)*input"),
    "unflattened": ("encoder", r"for 2 observations it returned \(2, 3, 1\), not features of shape \(2, f\)"),
    "wide": ("head", r"sampling failed: RuntimeError: The size of tensor a \(8\) must match"),
    "plain": ("head", r"gave a Tensor without sample, log_prob, entropy, kl_from: return a distribution"),
    "make_head": ("policy", r"making it failed: TypeError: make_head\(\) missing 1 required"),
}


OWN = {
    "encoder": replace(SMALL, encoder="own_nets:make_encoder"),
    "encoders": replace(SMALL, encoder="own_nets:make_encoder", critic_encoder="own"),
    "head": replace(SMALL, head="own_nets:make_head"),
    "both": replace(SMALL, encoder="own_nets:make_encoder", head="own_nets:make_head"),
    "policy": replace(SMALL, policy="own_nets:make_policy"),
    "built in": replace(SMALL, encoder_hidden=(8, 6), layer_norm=True),
}


TRIED_SLOWLY = {"encoder", "encoders", "head", "policy", "built in"}


def trainer_of(spec: Spec, network: NetworkConfig, ppo: PpoConfig = PPO, seed: int = 1) -> Trainer:
    return Trainer(spec, ppo=ppo, network=network, seed=seed, total_steps=1000)


def trained(trainer: Trainer, updates: range) -> Trainer:
    for update in updates:
        report = trainer.update([Received("a", b"a", update, 0, acted(trainer, update))])
        assert report.ratio_excess <= 1
    return trainer


@pytest.mark.parametrize("spec", [CONTINUOUS, pytest.param(DISCRETE, marks=pytest.mark.slow)], ids=["box", "choice"])
@pytest.mark.parametrize(
    "which", [pytest.param(name, marks=[pytest.mark.slow] * (name in TRIED_SLOWLY)) for name in OWN]
)
def test_own_networks_train_from_their_own_actions_and_resume_to_the_bit(which: str, spec: Spec) -> None:
    trainer = trained(trainer_of(spec, OWN[which]), range(2))
    trainer.check_graph()
    assert type(trainer._steps._gradients) is AutogradGradients
    resumed = trainer_of(spec, OWN[which], seed=9)
    resumed._seed = 1
    resumed.load(trainer.tensors(), trainer.counters())
    first = trainer_of(spec, OWN[which]).tensors()
    assert all(
        not torch.equal(tensor, first[name])
        for name, tensor in trainer.tensors().items()
        if name.startswith(("policy.", "critic."))
    )
    assert_bit_equal(trained(resumed, range(2, 3)).tensors(), trained(trainer, range(2, 3)).tensors())
    assert network_graph(trainer.policy, trainer.critic, spec)


def test_the_same_seed_gives_the_same_weights() -> None:
    one, other, third = (build_networks(CONTINUOUS, OWN["both"], seed)[0].state_dict() for seed in (1, 1, 2))
    assert_bit_equal(one, other)
    assert not torch.equal(one["encoder.layer.weight"], third["encoder.layer.weight"])


def test_a_leaf_encoder_in_an_own_encoder_is_fed_with_the_run_s_moments() -> None:
    plain, own = (trained(trainer_of(CONTINUOUS, OWN[name]), range(1)) for name in ("head", "encoders"))
    expected = plain.policy.encoder.mean
    assert expected.abs().min() > 0.1
    for encoder in (own.policy.encoder, own.critic.encoder):
        torch.testing.assert_close(encoder.numbers.mean, expected)
    assert not torch.equal(own.policy.encoder.layer.weight, own.critic.encoder.layer.weight)


def slopes(network: NetworkConfig, **ppo: Any) -> tuple[bool, bool]:
    """(whether the policy's losses move the encoder, whether the critic's do)."""
    moved = []
    for settings in ({"value_coefficient": 0.0}, {"value_coefficient": 1e6}):
        trainer = trainer_of(CONTINUOUS, network, replace(PPO, max_grad_norm=0.0, **settings, **ppo))
        trained(trainer, range(1))
        moved.append(trainer.policy.encoder.layer.weight.clone())
    start = build_networks(CONTINUOUS, network, 1)[0].encoder.layer.weight
    return not torch.equal(moved[0], start), not torch.equal(moved[0], moved[1])


def test_a_shared_encoder_is_trained_by_both_losses_and_one_of_its_own_is_not() -> None:
    assert slopes(OWN["encoder"]) == (True, True)
    assert slopes(OWN["encoders"]) == (True, False)
    assert slopes(OWN["encoder"], critic_learning_rate=1e-3) == (True, False)


def test_analytic_gradients_stay_where_they_apply() -> None:
    assert type(trainer_of(CONTINUOUS, SMALL)._steps._gradients) is AnalyticGradients
    assert type(trainer_of(CONTINUOUS, replace(SMALL, critic_encoder="own"))._steps._gradients) is AnalyticGradients


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_made_is_refused_in_one_line(name: str) -> None:
    part, reason = WRONG[name]
    network = replace(SMALL, **{part: f"own_nets:{name}"})
    with pytest.raises(UsageError, match=reason) as caught:
        build_networks(CONTINUOUS, network, 1)
    assert str(caught.value).startswith(f"network.{part}=own_nets:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"encoder": "nature"}, r"is none of auto, .* \(did you mean nature_cnn\?\)"),
        (
            {"encoder": "my_nets.py:make"},
            r"must be module:function, for example my_nets:make_encoder \(the module as `import` names it, not a file",
        ),
        ({"head": "make_head"}, r"network\.head='make_head' must be module:function, for example my_nets:make_head"),
        ({"policy": "a:b", "head": "a:b"}, r"network\.policy=a:b makes all parts: leave out network\.head=a:b"),
        ({"policy": "a:b", "encoder": "flat"}, r"leave out network\.encoder=flat"),
        ({"embedding": -1}, "at least 0"),
        ({"encoder_hidden": (0,)}, "width below 1"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_at_once(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        NetworkConfig(**settings)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    text = "from own_nets import *\nimport torch\nclass Odd(torch.nn.Module):\n"
    text += "    def forward(self, seen): return torch.special.i1(seen)\ndef odd(leaves): return Odd()\n"
    (tmp_path / "my_nets.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    yield tmp_path
    sys.modules.pop("my_nets", None)


@pytest.mark.slow
def test_a_process_of_its_own_refuses_what_cannot_be_exported(nets: Path) -> None:
    def check(**network: str) -> None:
        check_networks(LearnerConfig(network=NetworkConfig(**network)), CONTINUOUS)

    with pytest.raises(UsageError, match=r"PyTorch cannot export the policy to ONNX: .*special_i1") as caught:
        check(encoder="my_nets:odd")
    assert "\n" not in str(caught.value)
    assert "my_nets" not in sys.modules


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_what_a_users_module_starts_is_not_waited_for_and_ends_with_the_check(nets: Path) -> None:
    sleep = ["sleep", f"4242.{os.getpid()}"]  # other tests may run on this machine
    begin = f"import subprocess\nfrom my_nets import make_encoder\nsubprocess.Popen({sleep})\n"
    (nets / "leaving.py").write_text(begin)
    check_networks(LearnerConfig(network=NetworkConfig(encoder="leaving:make_encoder")), None)
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert sleep not in left


@pytest.mark.slow
def test_a_trial_ends_with_the_command_that_gives_it_up_and_a_module_that_hangs_is_not_waited_for_longer(
    nets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nets / "hanging.py").write_text("import time\ntime.sleep(1000)\n")
    config = LearnerConfig(network=NetworkConfig(encoder="hanging:make_encoder"))
    trial = NetworkTrial(config)
    pid = trial._check._process.pid
    assert psutil.pid_exists(pid)
    trial.close()
    assert not psutil.pid_exists(pid)
    monkeypatch.setattr("dppo.local.network_check.MOST_SECONDS", 1.0)
    bounds = np.arange(1, 50_001, dtype=np.float32)
    many = spec_of(gym.spaces.Box(-bounds, bounds), gym.spaces.Discrete(3))
    with pytest.raises(UsageError, match=r"making and exporting it takes more than 1 s"):  # 900 kB of bounds
        check_networks(config, many)


def test_that_process_finds_names_and_takes_what_works(nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import msgspec

    def code(spec: Spec | None, **network: str) -> int:
        return main(msgspec.msgpack.encode(Task(NetworkConfig(**network), 1, spec)))

    assert code(DISCRETE, encoder="my_nets:make_encoder", head="my_nets:make_head") == 0
    assert code(None, head="my_nets:make_heat") == 2
    assert "network.head=my_nets:make_heat: 'my_nets' has no 'make_heat': did you mean make_head" in (
        capsys.readouterr().err
    )


def test_layers_that_eval_mode_stills_are_named(nets: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy, _ = build_networks(CONTINUOUS, replace(SMALL, encoder="own_nets:tied"), 1)
    dropout, norm = inert_layers(policy)
    assert dropout.startswith("Dropout in it does nothing")
    assert norm.startswith("BatchNorm1d in it normalises nothing")
    assert [record.getMessage() for record in caplog.records] == [
        f"network.encoder=own_nets:tied: {line}" for line in (dropout, norm)
    ]
    for layer in policy.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.running_mean += 1  # as a pretrained one has
    assert inert_layers(policy) == [dropout]
    assert inert_layers(build_networks(CONTINUOUS, SMALL, 1)[0]) == []


def test_embeddings_begin_with_a_vector_for_each_value_and_are_trained() -> None:
    space = spaces.Dict(a=spaces.Discrete(4, start=-1), b=BOX)
    policy, _ = build_networks(spec_of(space, spaces.Discrete(2)), replace(SMALL, embedding=3), 1)
    assert policy.features == 6
    seen = {"observation.a": torch.tensor([-1, 2, -1]), "observation.b": torch.zeros(3, 3)}
    features = policy.encode(seen)
    assert torch.equal(features[0], features[2])
    assert not torch.equal(features[0, :3], features[1, :3])
    features.sum().backward()
    slopes = policy.encoder.leaves[0].vectors.grad
    assert slopes.tolist() == [[2.0] * 3, [0.0] * 3, [0.0] * 3, [1.0] * 3]


@pytest.mark.parametrize("start", [1, -2])
def test_embeddings_of_choices_are_exported_wherever_these_start(start: int) -> None:
    space = spaces.Dict(a=spaces.Discrete(3, start=start), b=BOX)
    trainer_of(spec_of(space, spaces.Discrete(2)), replace(SMALL, embedding=3)).check_graph()


def test_networks_are_tried_on_choices_that_there_are() -> None:
    space = spaces.Dict(a=spaces.Discrete(3, start=-2), b=spaces.MultiDiscrete([2, 3], start=[5, -1]), c=BOX)
    examples = [example_leaf(leaf, 2).tolist() for leaf in spec_of(space, spaces.Discrete(2)).observation]
    assert examples[:2] == [[-2, -2], [[5, -1], [5, -1]]]


@pytest.mark.parametrize("name", ["frozen", "tied"])
def test_frozen_and_tied_weights_and_layers_with_statistics_work(name: str) -> None:
    trainer = trainer_of(CONTINUOUS, replace(SMALL, encoder=f"own_nets:{name}"))
    before = {key: tensor.clone() for key, tensor in trainer.policy.encoder.state_dict().items()}
    trained(trainer, range(2)).check_graph()
    after = trainer.policy.encoder.state_dict()
    assert torch.equal(after["layer.weight"], before["layer.weight"]) if name == "frozen" else True
    if name == "tied":
        assert torch.equal(after["1.weight"], after["3.weight"])
        assert not torch.equal(after["1.weight"], before["1.weight"])
        assert torch.equal(after["4.running_mean"], before["4.running_mean"])
