"""The plasticity of a small DQN while it learns, by problem and by width.

Written down before anything was run: on the true-label MDP the final probe loss rises over
training (Lyle et al., arXiv 2303.01486, figures 4 to 6), and it rises less in wider networks
(figure 5; from 16 to 256 units there). The second depends on the budget of the probe, which was
seen at the first try: within few steps narrow networks learn hardly anything, so that they have
nothing to lose, and the rise *grows* with the width; within the paper's 2000 steps wide networks
fit everything, before training and after. What is tested is the paper's budget; a tenth of it
stands beside. (The quick size takes 16 and 64 units: between 16 and 32 five seeds do not decide.)
What the paper leaves open (discount, exploration, replay, learning rate) is in `Setting`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from fracjax import evaluation
from fracjax._types import Key, Label, PyTree
from fracjax.learning.interventions.decay import plain_adam
from fracjax.learning.network_metrics.units import dead_units
from fracjax.learning.plasticity.probes import over_targets, plasticity_probe, probe_sines
from fracjax.learning.plasticity.toy_agents import train_dqn
from fracjax.learning.plasticity.toy_mdps import Reward, ToyMDP, digit_observations, toy_mdp
from fracjax.learning.plasticity.toy_networks import ToyNetwork
from fracjax.reproduce.comparisons import described, left_out, signed
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row

__all__ = [
    "FULL",
    "PARTS",
    "PROBLEMS",
    "Setting",
    "chunk",
    "over_problems",
    "problems",
    "shared_probe",
]

PROBLEMS: tuple[Reward, ...] = ("true-label", "random-label", "sparse-reward")


class Setting(NamedTuple):
    """Agent, problems and probe.

    Attributes:
        hidden: Units of each of two hidden layers.
        num_periods: Replacements of the target network.
        target_every: Updates between them.
        batch: Transitions per update.
        num_actors: Environment steps per update.
        discount: γ.
        epsilon: Share of random actions.
        replay: Transitions that are kept.
        rate: Learning rate of Adam (b1 .9, b2 .999, ε 1e-9).
        probe_steps: Budget of the probe.
        probe_batch: Images per step of it.
        probe_inputs: Images that it is fitted on, all in all.
        num_targets: Targets per network.
        num_seeds: Runs.
        problems: Which MDPs, on scikit-learn's digits.
    """

    hidden: int = 64
    num_periods: int = 10
    target_every: int = 500
    batch: int = 64
    num_actors: int = 8
    discount: float = 0.99
    epsilon: float = 0.1
    replay: int = 10_000
    rate: float = 1e-3
    probe_steps: int = 1000
    probe_batch: int = 32
    probe_inputs: int = 128
    num_targets: int = 5
    num_seeds: int = 5
    problems: tuple[Reward, ...] = PROBLEMS

    def network(self, **changes: Any) -> ToyNetwork:
        """Make the network, with changes."""
        return dataclasses.replace(ToyNetwork((8, 8), (self.hidden, self.hidden)), **changes)

    @property
    def iterations(self) -> tuple[int, ...]:
        """Steps of the probe after which its loss is taken."""
        most = self.probe_steps
        steps = (0, 10, 20, 50, 100, 200, 500, 1000, 2000)
        return (*(step for step in steps if step < most), most)

    def probing(self) -> dict[str, Any]:
        """Settings of `plasticity_probe`."""
        batches = {"batch_size": self.probe_batch, "key": jax.random.key(0)}
        return {"iterations": self.iterations, **batches}

    def training(self) -> dict[str, Any]:
        """Settings of `train_dqn`."""
        return {
            "num_periods": self.num_periods,
            "target_every": self.target_every,
            "batch_size": self.batch,
            "discount": self.discount,
            "epsilon": self.epsilon,
            "replay_size": self.replay,
            "num_actors": self.num_actors,
        }


FULL = Setting(
    hidden=512,
    num_periods=100,
    target_every=1000,
    batch=512,
    probe_steps=2000,
    probe_batch=512,
    probe_inputs=1797,
    num_targets=10,
    num_seeds=10,
)
_ALONG: Mapping[Size, Setting] = {
    "quick": Setting(num_periods=4, target_every=250, probe_steps=500),
    "default": Setting(),
    "full": FULL,
}
_WIDTHS: Mapping[Size, tuple[int, ...]] = {
    "quick": (16, 64),
    "default": (16, 32, 64, 128),
    "full": (16, 32, 64, 128, 192, 256),
}
_WIDTH_PROBE = 2000  # steps, as in the paper
_BUDGETS = (200, _WIDTH_PROBE)
_PERIODS: Mapping[Size, tuple[tuple[int, int], ...]] = {  # updates per period, periods
    "quick": ((250, 4),),
    "default": ((500, 10),),
    "full": ((1, 100_000), (100, 1000), (1000, 100)),
}


def chunk(num_runs: int) -> int:
    """Runs that a device makes at a time: one on a CPU, all on an accelerator."""
    return 1 if jax.default_backend() == "cpu" else num_runs


def problems(setting: Setting) -> tuple[ToyMDP, Float[Array, "n 8 8"]]:
    """Stack the MDPs, on all digits; also return the images of the probe.

    In all three every image is seen about as often, so that images drawn at random stand for the
    replay buffer, and all agents of all problems are probed on the same.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    observations = digit_observations()
    made = [toy_mdp(reward, observations) for reward in setting.problems]
    alike = [dataclasses.replace(mdp, reward=Label("several")) for mdp in made]
    mdps = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alike)
    return mdps, made[0].images[: setting.probe_inputs]


def shared_probe(
    setting: Setting, images: Float[Array, "n 8 8"], key: Key
) -> tuple[Float[Array, "n 8 8"], Float[Array, "targets n 10"]]:
    """Images and sines of the probe: one set for all that is compared."""
    network = setting.network()
    draw = functools.partial(
        probe_sines, network.apply, network.init, num_targets=setting.num_targets
    )
    return images, jax.jit(draw)(images, key)


def over_problems(
    run: Callable[[Mapping[str, Array], PyTree, Key], dict[str, Array]],
    data: PyTree,
    key: Key,
    setting: Setting,
) -> dict[str, np.ndarray]:
    """Call `run(row, data, key)` for every problem and seed, its row; (problems, seeds, ...)."""
    seeds, kinds = np.arange(setting.num_seeds), np.arange(len(setting.problems))
    rows = {"problem": np.repeat(kinds, len(seeds)), "seed": np.tile(seeds, len(kinds))}
    found = evaluation.map_points(run, rows, data, key, chunk_size=chunk(len(rows["seed"])))
    return jax.tree.map(lambda leaf: leaf.reshape(len(kinds), len(seeds), *leaf.shape[1:]), found)


def _looks(setting: Setting) -> np.ndarray:
    """Periods after which the network is probed: the start, twice in between, the end."""
    return np.unique(np.round(setting.num_periods * np.array([0, 0.1, 0.4, 1])).astype(int))


def _run(row: Mapping[str, Array], data: PyTree, key: Key, *, setting: Setting) -> dict[str, Array]:
    """Train an agent; probe it along its training."""
    mdps, inputs, sines = data
    mdp = jax.tree.map(lambda leaf: leaf[row["problem"]], mdps)
    network, optimizer = setting.network(), plain_adam(setting.rate)
    own = jax.random.fold_in(key, row["seed"])
    run = train_dqn(network, mdp, optimizer, own, **setting.training())
    points = jax.tree.map(lambda leaf: leaf[_looks(setting)], (run.params, run.opt_states))

    def look(point: tuple[PyTree, optax.OptState]) -> dict[str, Array]:
        params, state = point
        probe = functools.partial(
            plasticity_probe,
            network.apply,
            params,
            inputs,
            sines,
            optimizer,
            **setting.probing(),
        )
        seen = network.activations(params, inputs)
        return {
            "losses": probe().losses.mean(axis=0),
            "own state": probe(opt_state=state).losses.mean(axis=0),
            "dead": jnp.stack([dead_units(layer) for layer in seen.values()]).mean(),
            "norm": optax.tree.norm(params),
        }

    return {**jax.lax.map(look, points), "accuracy": run.accuracies}


def _along_training(key: Key, size: Size) -> Findings:
    """Probe curves of agents of three problems, before, early in, and after training."""
    setting = _ALONG[size]
    try:
        mdps, images = problems(setting)
    except ImportError as error:
        return Findings([left_out("agents", str(error))])
    data = (mdps, *shared_probe(setting, images, jax.random.fold_in(key, 1)))
    found = over_problems(functools.partial(_run, setting=setting), data, key, setting)
    report: list[Row] = []
    for number, problem in enumerate(setting.problems):
        here = jax.tree.map(lambda leaf, index=number: leaf[index], found)
        report += _along_rows(problem, here, setting)
    draw = functools.partial(_draw_along, found, setting)
    return Findings(report, {"plasticity-along-training": draw})


def _along_rows(problem: str, found: Mapping[str, np.ndarray], setting: Setting) -> list[Row]:
    losses = found["losses"]  # (seeds, looks, iterations)
    change = over_targets(jnp.asarray(losses[:, -1, -1] - losses[:, 0, -1]))
    text = f"final probe loss after training minus before, {len(losses)} seeds"
    rows = []
    if problem == "true-label":
        rows.append(signed(problem, text, change, 1, "arXiv 2303.01486, figures 4 to 6"))
    rows.append(described(problem, text, change))
    own = found["own state"]
    numbers: list[tuple[str, np.ndarray]] = [
        ("the same, the probe's Adam begun with the agent's state", own[:, -1, -1] - own[:, 0, -1]),
        ("share of greedy actions that are right at the end", found["accuracy"][:, -1]),
        ("share of dead units at the end", found["dead"][:, -1]),
        ("norm of the parameters, end over start", found["norm"][:, -1] / found["norm"][:, 0]),
    ]
    for place, period in enumerate(_looks(setting)):
        after = f"after {period * setting.target_every} updates"
        numbers += [
            (f"probe loss at its start, {after}", losses[:, place, 0]),
            (f"probe loss after {setting.probe_steps} steps, {after}", losses[:, place, -1]),
        ]
    for label, values in numbers:
        rows.append(described(problem, label, over_targets(jnp.asarray(values))))
    return rows


def _draw_along(found: Mapping[str, np.ndarray], setting: Setting) -> Any:
    from fracjax.plotting import plasticity
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(3.6 * len(setting.problems), 3.4)
        for number, problem in enumerate(setting.problems):
            axes = figure.add_subplot(1, len(setting.problems), number + 1)
            curves = {
                f"after {period * setting.target_every} updates": (
                    np.array(setting.iterations),
                    over_targets(jnp.asarray(found["losses"][number][:, place])),
                )
                for place, period in enumerate(_looks(setting))
            }
            plasticity.estimates_along_runs(
                axes,
                curves,
                along="steps of the probe",
                label="probe loss",
                reference=("best constant", 0.5),
            )
            axes.set_title(problem)
    return figure


def _width(key: Key, size: Size) -> Findings:
    """Change of the probe loss by width, on the true-label MDP, at equal numbers of updates."""
    base = _ALONG[size]._replace(problems=PROBLEMS[:1])
    try:
        mdps, images = problems(base)
    except ImportError as error:
        return Findings([left_out("width", str(error))])
    rows: list[Row] = []
    shown = {}
    widths = _WIDTHS[size]
    for every, periods in _PERIODS[size]:
        setting = base._replace(target_every=every, num_periods=periods, probe_steps=_WIDTH_PROBE)
        losses = []
        for width in widths:
            own = setting._replace(hidden=width)
            data = (mdps, *shared_probe(own, images, jax.random.fold_in(key, 1)))
            found = over_problems(functools.partial(_ends, setting=own), data, key, own)
            losses.append(found["losses"][0])
            system = f"width {width}, target every {every}"
            right = over_targets(jnp.asarray(found["accuracy"][0]))
            rows.append(described(system, "share of greedy actions that are right", right))
        for budget in _BUDGETS:
            table = np.stack(losses)[..., setting.iterations.index(budget)]
            change = table[:, :, 1] - table[:, :, 0]  # (widths, seeds)
            rows += _by_width(widths, every, budget, table, change)
            name = f"{budget} steps of the probe, target every {every}"
            shown[name] = (np.array(widths), over_targets(jnp.asarray(change.T)))
    return Findings(rows, {"plasticity-width": functools.partial(_draw_width, shown)})


def _by_width(
    widths: tuple[int, ...], every: int, budget: int, table: np.ndarray, change: np.ndarray
) -> list[Row]:
    """Changes of the probe loss by width, and their slope; the paper's budget is tested."""
    rows = []
    for width, before, moved in zip(widths, table[:, :, 0], change, strict=True):
        system = f"width {width}, target every {every}"
        text = f"probe loss after {budget} steps, after training minus before, {len(moved)} seeds"
        rows.append(described(system, text, over_targets(jnp.asarray(moved))))
        fresh = over_targets(jnp.asarray(before))
        rows.append(described(system, f"probe loss after {budget} steps, before training", fresh))
    logs = np.log2(widths) - np.log2(widths).mean()
    slopes = over_targets(jnp.asarray(change.T @ logs / (logs @ logs)))
    text = f"change of that rise per doubling of the width, {budget} steps, target every {every}"
    if budget == _WIDTH_PROBE:
        rows.append(signed("width", text, slopes, -1, "arXiv 2303.01486, figure 5"))
    else:
        rows.append(described("width", text, slopes))
    return rows


def _ends(
    row: Mapping[str, Array], data: PyTree, key: Key, *, setting: Setting
) -> dict[str, Array]:
    """Probe before and after training only."""
    mdps, inputs, sines = data
    mdp = jax.tree.map(lambda leaf: leaf[row["problem"]], mdps)
    network, optimizer = setting.network(), plain_adam(setting.rate)
    own = jax.random.fold_in(key, row["seed"])
    run = train_dqn(network, mdp, optimizer, own, **setting.training())

    def probe(params: PyTree) -> Array:
        return plasticity_probe(
            network.apply, params, inputs, sines, optimizer, **setting.probing()
        ).losses.mean(axis=0)

    ends = jax.tree.map(lambda leaf: leaf[jnp.asarray([0, -1])], run.params)
    return {"losses": jax.lax.map(probe, ends), "accuracy": run.accuracies[-1]}


def _draw_width(shown: Mapping[str, Any]) -> Any:
    from fracjax.plotting import plasticity
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(4.6, 3.4)
        plasticity.estimates_along_runs(
            figure.subplots(),
            shown,
            along="units per layer",
            label="change of probe loss (positive: lost)",
            logarithmic=(True, False),
            reference=("no change", 0.0),
        )
    return figure


PARTS: dict[str, Part] = {"agents: along training": _along_training, "agents: width": _width}
