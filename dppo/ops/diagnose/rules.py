"""Rules by which a run's numbers are judged, each with the setting to change. Pure.

Limits lie far from what runs that learn show (their range, over presets and tests, stands beside each).
"""

import math

import numpy as np

from dppo.ops.diagnose.history import History
from dppo.ops.doctor.finding import Finding

FEW_UPDATES = 5  # below, only what is certain is named
KL_TOO_LARGE = 0.15  # median; runs that learn: 0.0003 to 0.05
KL_TOO_SMALL = 2e-6
CLIPPED_TOO_OFTEN = 0.3  # share of rows; up to 0.2
STD_GROWN = 1.5  # it begins at 1; up to 1.15
STD_GONE = 0.01  # down to 0.1
ENTROPY_GONE = 0.01  # of what it was at first
ENTROPY_KEPT = 0.98
HEAVY_ENTROPY = 0.1  # coefficient that outweighs normalised advantages; 0 to 0.01 is usual
BLIND_CRITIC = 0.15  # explained variance; from 0.3 on
POOR_VALUES = 0.25  # loss of normalised values; below 0.1 after the first updates
GRADIENT = 100.0  # times max_grad_norm; up to 10
OVERSHOT = 1.5  # times batch_steps; up to 1.17
OVERSHOT_GOING_ON = 3.0  # likewise, where actors go on during updates and a batch takes what they have made; up to 1.9
SHORT_SEGMENT = 4  # steps of an environment in a batch
LEFT_OUT = 0.001  # share of steps
DROPPED = 0.1  # share of sealed steps
FAR = 20  # horizons of gamma in an episode
STILL_GAINING = 0.1  # of all that the return has gained, in the last third of the updates
COLLAPSED = 0.5  # of what the return had gained
NOISE = 4.0  # times the median change of the return from one update to the next
FORGOTTEN = 0.3  # of the first return, by which a run that began with weights of another is below it
LEARNT = 0.5  # of what the return has gained, before which actions that became certain are too early
STRAGGLER = 0.2  # times the median actor's steps
FEW_EPISODES = 5
LONG_EPISODE = 250  # steps of each environment, before which none needs to have ended


def learning(history: History) -> list[Finding]:
    """Findings about the steps of the optimizer: too large, too small, none."""
    ppo, found = history.config.ppo, list[Finding]()
    if len(history.rows) < FEW_UPDATES:
        return found
    kl = history.median("approx_kl", 0.75)
    if kl > KL_TOO_LARGE:
        do = f"Lower ppo.learning_rate ({ppo.learning_rate:g}) or ppo.epochs ({ppo.epochs}), or set "
        means = f"an update moves it by a KL of {kl:.2g} (median); 0.001 to 0.05 is usual"
        found.append(Finding("error", "policy", means, f"{do}ppo.early_stop_kl: 0.02."))
    elif history.median("clip_fraction", 0.75) > CLIPPED_TOO_OFTEN:
        means = f"{history.median('clip_fraction', 0.75):.0%} of the rows are clipped"
        found.append(Finding("warning", "policy", means, f"Lower ppo.learning_rate ({ppo.learning_rate:g})."))
    first = np.abs(history.column("approx_kl")[: max(FEW_UPDATES, len(history.rows) // 2)])
    at_first = float(np.median(first[np.isfinite(first)])) if np.isfinite(first).any() else math.nan
    if at_first < KL_TOO_SMALL and history.median("clip_fraction") == 0:
        means = f"an update moves it by a KL of {at_first:.1g} (median): hardly at all"
        found.append(Finding("error", "policy", means, f"Raise ppo.learning_rate ({ppo.learning_rate:g})."))
    gradient = history.median("grad_norm")
    if ppo.max_grad_norm and gradient > GRADIENT * ppo.max_grad_norm:
        means = f"its norm is {gradient:.3g} (median), and cut to {ppo.max_grad_norm:g}"
        do = "Scale rewards (ppo.normalise_rewards), or lower ppo.value_coefficient."
        found.append(Finding("warning", "gradient", means, do))
    if ppo.early_stop_kl and history.median("epochs") <= max(1.0, 0.2 * ppo.epochs) < ppo.epochs:
        means = f"stop after {history.median('epochs'):.2g} of {ppo.epochs} (median)"
        do = f"Lower ppo.learning_rate ({ppo.learning_rate:g}), or raise ppo.early_stop_kl ({ppo.early_stop_kl:g})."
        found.append(Finding("warning", "epochs", means, do))
    return found


def exploration(history: History) -> list[Finding]:
    """Findings about the spread of actions: gone, or growing without end."""
    ppo, found = history.config.ppo, list[Finding]()
    if len(history.rows) < FEW_UPDATES:
        return found
    std, entropy = history.column("policy_std"), history.column("entropy")
    weight = f"ppo.entropy_coefficient ({ppo.entropy_coefficient:g})"
    if std[-1] > STD_GROWN:
        found.append(
            Finding("error", "exploration", f"the std of actions has grown to {std[-1]:.3g}", f"Lower {weight}.")
        )
    elif std[-1] < STD_GONE:
        means = f"the std of actions has fallen to {std[-1]:.2g}"
        found.append(Finding("warning", "exploration", means, f"Raise {weight}, or lower ppo.learning_rate."))
    if not np.isfinite(std).any() and entropy[0] > 0 and not _is_solved(history):
        left = entropy[-1] / entropy[0]
        if left < ENTROPY_GONE and _certain_too_early(history):
            what = "the task was solved" if history.config.run.target_return is not None else "most was learnt"
            means = f"actions became certain (entropy {entropy[0]:.2g} to {entropy[-1]:.1g}) before {what}"
            found.append(Finding("warning", "exploration", means, f"Raise {weight}, or lower ppo.learning_rate."))
        elif left > ENTROPY_KEPT and ppo.entropy_coefficient > HEAVY_ENTROPY:
            means = f"actions are as random as at first (entropy {entropy[-1]:.2g})"
            found.append(Finding("warning", "exploration", means, f"Lower {weight}."))
    return found


def critic(history: History) -> list[Finding]:
    """Findings about the critic."""
    explained = history.median("explained_variance", 0.5)
    ppo = history.config.ppo
    if len(history.rows) < 2 * FEW_UPDATES or not explained < BLIND_CRITIC or _is_solved(history):
        return []
    if ppo.normalise_values and not history.median("value_loss", 0.5) > POOR_VALUES:
        return []  # there is hardly anything to explain: all returns are alike by now
    if ppo.value_coefficient == 0 and not ppo.critic_epochs:
        do = "Set ppo.value_coefficient: 0.5."
    else:
        do = f"Look at the rewards (dppo check), ppo.gamma ({ppo.gamma:g}), and a learning rate of its own: "
        do += "ppo.critic_learning_rate."
    return [Finding("warning", "critic", f"explains {max(0.0, explained):.0%} of the returns (median)", do)]


def batches(history: History) -> list[Finding]:
    """Findings about what batches hold."""
    collect, found = history.config.collect, list[Finding]()
    size = history.median("batch_steps")
    environments = int(history.summary.get("environments") or 0)
    if size > (OVERSHOT_GOING_ON if collect.max_staleness else OVERSHOT) * collect.batch_steps:
        means = f"hold {size:,.0f} steps (median), and {collect.batch_steps:,} were asked for"
        may_share = collect.rule == "minimum" and not collect.max_staleness
        do = f"Raise collect.batch_steps, or {'set collect.rule: even_shares' if may_share else 'take fewer actors'}."
        found.append(Finding("warning", "batches", means, do))
    if environments and size / environments < SHORT_SEGMENT:
        means = (
            f"hold {size / environments:.1f} steps of each of {environments} environments: advantages are one step long"
        )
        do = f"Raise collect.batch_steps ({collect.batch_steps:,}), or take fewer environments."
        found.append(Finding("warning", "batches", means, do))
    left_out = np.nansum(history.column("steps_left_out")) + np.nansum(history.column("outliers"))
    steps = float(history.column("steps")[-1])
    if left_out > LEFT_OUT * steps:
        means = f"{left_out:,.0f} of {steps:,.0f} steps had numbers far from the usual, and were bounded or left out"
        found.append(Finding("warning", "batches", means, "dppo check names the leaf."))
    return found


def returns(history: History) -> list[Finding]:
    """Findings about the returns themselves: lost again, never better, hardly any."""
    found, mean = list[Finding](), history.column("mean_return")
    known = np.flatnonzero(np.isfinite(mean))
    episodes = float(history.column("episodes")[-1])
    environments = int(history.summary.get("environments") or history.config.collect.envs_per_actor)
    if episodes < FEW_EPISODES and history.column("steps")[-1] > LONG_EPISODE * environments:
        means = f"{episodes:,.0f} ended in {history.column('steps')[-1]:,.0f} steps"
        do = "Truncate them earlier: env.wrappers: [{gymnasium.wrappers.TimeLimit: {max_episode_steps: 1000}}]."
        return [Finding("warning", "episodes", means, do)]
    if len(known) < 2 * FEW_UPDATES:
        return _horizon(history)
    first, best, last = mean[known[0]], float(np.nanmax(mean)), mean[known[-1]]
    noise = NOISE * float(np.median(np.abs(np.diff(mean[known]))))
    if best - last > max(noise, COLLAPSED * (best - first)) and best - first > abs(first) * 0.5:
        means = f"was {best:.4g} after update {history.rows[int(np.nanargmax(mean))]['update']}, and is {last:.4g} now"
        do = "Set ppo.learning_rate_schedule: linear, or lower it; the best policy is kept: dppo evaluate RUN --best."
        found.append(Finding("error", "return", means, do))
    elif history.config.run.init_from and first - last > max(noise, FORGOTTEN * abs(first)):
        means = f"is lower than that of the weights it began with: {first:.4g} at first, {last:.4g} now"
        do = (
            f"Lower ppo.learning_rate ({history.config.ppo.learning_rate:g}): the first updates forget what was learnt."
        )
        found.append(Finding("warning", "return", means, do))
    elif not history.config.run.init_from and _gained(history) <= 0 and not _is_solved(history):
        means = f"has not grown: {first:.4g} at first, {last:.4g} now"
        found.append(Finding("warning", "return", means, "Look at the environment: dppo check ENV."))
    return found + _horizon(history)


def steps(history: History) -> list[Finding]:
    """Findings about a run that ended while it was still getting better."""
    target, mean = history.config.run.target_return, history.column("mean_return")
    known = mean[np.isfinite(mean)]
    if target is None or _is_solved(history) or len(known) < 2 * FEW_UPDATES or not history.summary:
        return []
    before, last = known[-len(known) // 3], known[-1]
    if last - before <= STILL_GAINING * (known.max() - known.min()):
        return []
    means = f"still grew when the run ended: {before:.4g} to {last:.4g} in its last third, and {target:g} is wanted"
    do = f"Raise run.total_steps ({history.config.run.total_steps:,}): the same command goes on."
    return [Finding("warning", "return", means, do)]


def _horizon(history: History) -> list[Finding]:
    length, gamma = history.median("mean_length", 0.5), history.config.ppo.gamma
    horizon = 1 / (1 - gamma) if gamma < 1 else math.inf
    if not length > FAR * horizon:
        return []
    means = f"last {length:,.0f} steps, and gamma {gamma:g} looks about {horizon:,.0f} ahead"
    return [Finding("warning", "episodes", means, f"Set ppo.gamma: {1 - 1 / length:.4g}, or repeat actions.")]


def workers(history: History) -> list[Finding]:
    """Findings about environments, actors, and steps that were not trained on."""
    found, total = list[Finding](), history.ledger.get("total", {})
    restarts = int(np.nansum(history.column("env_restarts")[-1:]))
    if restarts:
        crash = history.summary.get("newest_crash") or ""
        means = f"crashed {restarts:,} times{f', at last: {crash}' if crash else ''}"
        found.append(Finding("warning", "environments", means, "Each lost an episode; dppo check shows most at once."))
    sealed, dropped = int(total.get("sealed", 0)), dict(total.get("dropped", {}))
    if sealed and sum(dropped.values()) > DROPPED * sealed:
        reason = max(dropped, key=lambda name: dropped[name])
        means = f"{sum(dropped.values()):,} of {sealed:,} were dropped, most as {reason}"
        do = "Set collect.on_stop: keep." if history.config.collect.on_stop == "drop" else "See dppo ledger RUN."
        found.append(Finding("warning", "steps", means, do))
    accounts = history.ledger.get("accounts", {})
    trained = {name: int(account.get("trained", 0)) for name, account in accounts.items()}
    if len(trained) > 2:
        usual = float(np.median(list(trained.values())))
        slow = {name: steps for name, steps in trained.items() if steps < STRAGGLER * usual}
        if slow:
            means = (
                f"{', '.join(sorted(slow)[:3])} made {max(slow.values()):,} steps at most, others {usual:,.0f} (median)"
            )
            found.append(Finding("warning", "actors", means, "Look at that host: another program, a slow disk, swap."))
    return found


def _is_solved(history: History) -> bool:
    target = history.config.run.target_return
    best = np.nanmax(np.append(history.column("mean_return"), -np.inf))
    return target is not None and best >= target


def _certain_too_early(history: History) -> bool:
    """Whether the entropy was gone before the target was reached; without one, before most of the gain was there.

    Where no target is known, a policy that ends certain is usual: the best one of most tasks is.
    """
    if history.config.run.target_return is not None:
        return True  # of a run that has not reached it
    entropy, mean = history.column("entropy"), history.column("mean_return")
    known = mean[np.isfinite(mean)]
    before = mean[: int(np.argmax(entropy < ENTROPY_GONE * entropy[0])) + 1]
    if not len(known) or not np.isfinite(before).any():
        return True
    gained = known.max() - known[0]
    return bool(gained <= 0 or np.nanmax(before) - known[0] < LEARNT * gained)


def _gained(history: History) -> float:
    """Return by how much the best return of the second half is above the first known one; 0 where it is unknown."""
    mean = history.column("mean_return")
    known = mean[np.isfinite(mean)]
    return float(known[len(known) // 2 :].max() - known[0]) if len(known) >= FEW_UPDATES else 0.0
