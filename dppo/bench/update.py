"""Measures what a memory costs in an update: updates of three networks by turns, on batches of the same environment."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from torch import nn

from dppo.actor.envs.make import make_environments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.bench.observed_run import conditions
from dppo.bench.result_file import write_result
from dppo.learner.config import LearnerConfig
from dppo.learner.models.memory import Memory
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.network_config import NetworkConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.local.preflight import env_settings
from dppo.output_files import check_output
from dppo.settings.bench_arguments import BenchUpdate
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import parse_flags
from dppo.settings.layers import resolve

PLAIN, LAYER, MEMORY = "without memory", "a layer in its place", "with memory"
WARM_UP = 1  # updates of each


class Bench:
    """One network's trainer, and a batch of its own policy."""

    def __init__(self, config: LearnerConfig, network: NetworkConfig, columns: int) -> None:
        environments = make_environments(env_settings(config), columns)
        self._trainer = Trainer(
            environments.spec,
            ppo=config.ppo,
            network=network,
            seed=config.run.seed,
            total_steps=config.run.total_steps,
            device=config.run.device,
            torch_threads=config.run.torch_threads,
        )
        self._start = self._trainer.tensors(), self._trainer.counters()
        collector = Collector(environments, seed=config.run.seed, first_slot=0, life=0)
        collector.load(PolicyRunner(self._trainer.graph_bytes(1)))
        while collector.steps < config.collect.batch_steps:
            collector.step()
        segment = collector.cut()
        assert segment is not None, "it has steps"
        environments.close()
        self._batch = [Received("bench", b"bench", 1, 0, segment, 1, 1)]
        self.steps, self.minibatches = segment.steps, 0.0
        self.multiplications = multiplications(self._trainer.policy, self._trainer.critic)

    def seconds(self) -> float:
        """Time of one update, from the first weights each time."""
        self._trainer.load(*self._start)
        started = time.perf_counter()
        report = self._trainer.update(self._batch)
        seconds = time.perf_counter() - started
        self.minibatches = report.optimizer_steps / report.epochs
        return seconds


def update(arguments: BenchUpdate) -> int:
    """Time updates with and without memory by turns; print medians and ratios."""
    check_output(arguments.output)
    config = _settings(arguments)
    networks = networks_of(config.learner.network)
    about = {"env": arguments.env, "overrides": list(arguments.overrides), **conditions()}
    print(f"{arguments.env}; {about['cores']} cores ({about['cpu']}), load {about['load_before']:.1f}", flush=True)
    columns = config.learner.collect.envs_per_actor * max(1, config.actors)
    benches = {name: Bench(config.learner, network, columns) for name, network in networks.items()}
    seconds = timed(benches, arguments.pairs)
    result = {
        "bench": "update",
        **about,
        "memory": networks[MEMORY].memory,
        "memory_width": networks[MEMORY].memory_width,
        "bptt_steps": networks[MEMORY].bptt_steps,
        "columns": columns,
        "steps": {name: bench.steps for name, bench in benches.items()},
        "minibatches": {name: bench.minibatches for name, bench in benches.items()},
        "median_seconds": {name: median(values) for name, values in seconds.items()},
        "ratio": {name: ratio(seconds[name], seconds[PLAIN]) for name in benches},
        "multiplications": {name: bench.multiplications for name, bench in benches.items()},
        "ratio_to_layer": ratio(seconds[MEMORY], seconds[LAYER]),
        "seconds": seconds,
    }
    for name, bench in benches.items():
        print(
            f"{name:>20}: {1e3 * result['median_seconds'][name]:8.1f} ms, {result['ratio'][name]:5.2f} times"
            f"{_multiplied(bench, benches[PLAIN])}; {bench.steps:,} steps, {bench.minibatches:g} minibatches an epoch"
        )
    write_result(result, arguments.output)
    return 0


def _multiplied(bench: Bench, plain: Bench) -> str:
    """Return how many times the multiplications of the plain network it does, for people; "" where none are counted."""
    if bench.multiplications is None or not plain.multiplications:
        return ""
    return f" ({bench.multiplications / plain.multiplications:.2f} times the multiplications)"


def multiplications(policy: PolicyNetwork, critic: CriticNetwork) -> int | None:
    """Return multiplications of numbers with weights that a row takes in an epoch, forwards and backwards.

    A weight takes one for the output, one for its own gradient, and one for the slope of its input, where something is
    trained before it. None of networks with other parts than linear layers, GRU and LSTM.
    """
    parts = [policy.encoder, policy.body, critic.body]
    weights = [parameter for part in parts for parameter in part.parameters()]
    layers = [[layer.weight for layer in part.modules() if isinstance(layer, nn.Linear)] for part in parts]
    if critic.encoder is not None or sum(map(len, layers)) != sum(weight.dim() > 1 for weight in weights):
        return None
    of_encoder, *of_bodies = layers
    if of_encoder:
        of_encoder, of_first = of_encoder[1:], [of_encoder[0]]
    elif policy.memory is None:
        of_bodies, of_first = [of_body[1:] for of_body in of_bodies], [of_body[0] for of_body in of_bodies]
    else:
        of_first = []
    inner = [weight for part in (of_encoder, *of_bodies) for weight in part]
    if isinstance(policy.memory, Memory):
        matrices = [weight for weight in policy.memory.parameters() if weight.dim() > 1]
        first = 0 if of_first else 1  # features that nothing is trained before
        of_first += matrices[:first]
        inner += matrices[first:]
    elif policy.memory is not None:
        return None
    return 2 * sum(weight.numel() for weight in of_first) + 3 * sum(weight.numel() for weight in inner)


def networks_of(network: NetworkConfig) -> dict[str, NetworkConfig]:
    """The network with its memory, a GRU where the settings have none; with a layer in its place; with neither."""
    with_memory = network if network.memory != "none" else replace(network, memory="gru")
    fresh = NetworkConfig()
    plain = replace(
        with_memory,
        memory="none",
        memory_width=fresh.memory_width,
        memory_layers=fresh.memory_layers,
        bptt_steps=fresh.bptt_steps,
    )
    layers = (with_memory.memory_width,) * with_memory.memory_layers
    return {
        PLAIN: plain,
        LAYER: replace(plain, encoder_hidden=(*plain.encoder_hidden, *layers)),
        MEMORY: with_memory,
    }


def timed(benches: Mapping[str, Bench], pairs: int) -> dict[str, list[float]]:
    """Seconds of each one's updates, by turns and in another order each time."""
    seconds: dict[str, list[float]] = {name: [] for name in benches}
    for turn in range(WARM_UP + pairs):
        for name in list(benches) if turn % 2 else reversed(list(benches)):
            taken = benches[name].seconds()
            if turn >= WARM_UP:
                seconds[name].append(taken)
    return seconds


def ratio(those: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratios of each pair."""
    return median(one / other for one, other in zip(those, others, strict=True))


def _settings(arguments: BenchUpdate) -> TrainConfig:
    flags = parse_flags(arguments.overrides, settings_of(TrainConfig), extra=("config", "preset"))
    values: dict[str, Any] = {**flags.values, "env.id": arguments.env}
    file, preset = flags.extra.get("config", ""), flags.extra.get("preset", "")
    return resolve(TrainConfig, flags=values, file=file, preset=preset).config
