"""What does it cost to look at a path: PPTB beside a PPO update, and the Gram route beside an SVD.

    pip install "fracjax[bench]"
    python benchmarks/path_analyses.py --json paths.json

An "update" is one gradient step of Brax's PPO loss on actor and critic with Adam, on a minibatch
of 2048 environments × 5 steps, which is what Brax's own settings take for its ant (32 of them, 4
times, make what Brax calls an update of the policy; simulation comes on top and is not counted).
Trimming happens every 1000 of them, recording every 25, in a window of 2000.

The floors are what the arithmetic and the memory traffic would cost alone, at the rates of a
matrix product and of a copy measured in the same run.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command_line import announced, options, show, some_of, with_rounds, write
from interleaved import SHORTEST, best_threads, compiled, interleaved, ratios, spread

from fracjax.learning.path_trimming.transformation import pptb
from fracjax.learning.policy_paths.path_gram import path_gram
from fracjax.learning.policy_paths.temporal_svd import temporal_svd

OBSERVATION, ACTION, UNROLL = 27, 8, 5
SAMPLE_EVERY, TRIM_EVERY = 25, 1000
PARTS = ("routes", "overhead")
ROUNDS = (5, 5)  # usually, and when quick


def rates() -> dict[str, float]:
    """Measure flops per second of a float64 product and bytes per second of a copy."""
    with jax.enable_x64(True):
        square = jnp.ones((1024, 1024), jnp.float64)
        product, _, _ = compiled(lambda a: a @ a, square)
        long = jnp.ones(8_000_000, jnp.float64)
        copy, _, _ = compiled(lambda a: a + 1.0, long)
        runs = {
            "product": lambda: jax.block_until_ready(product(square)),
            "copy": lambda: jax.block_until_ready(copy(long)),
        }
        for run in runs.values():
            run()
        seconds = interleaved(runs, 5)
    return {
        "float64 flop/s": 2 * 1024**3 / min(seconds["product"]),
        "byte/s": 2 * 8 * 8e6 / min(seconds["copy"]),
    }


def ppo_update(width: int, environments: int) -> tuple[Any, Callable[[Any, jax.Array], Any]]:
    """Make parameters and the gradient of Brax's PPO loss on a made-up minibatch."""
    from brax.training import types
    from brax.training.acme import running_statistics, specs
    from brax.training.agents.ppo import losses, networks

    network = networks.make_ppo_networks(
        OBSERVATION,
        ACTION,
        policy_hidden_layer_sizes=(width, width),
        value_hidden_layer_sizes=(width, width),
    )
    one, two, three, four = jax.random.split(jax.random.key(0), 4)
    params = losses.PPONetworkParams(
        policy=network.policy_network.init(one), value=network.value_network.init(two)
    )
    statistics = running_statistics.init_state(specs.Array((OBSERVATION,), jnp.dtype("float32")))
    shape = (environments, UNROLL)
    observation = jax.random.normal(three, (*shape, OBSERVATION))
    action = jax.random.normal(four, (*shape, ACTION))
    data = types.Transition(
        observation=observation,
        action=jnp.tanh(action),
        reward=observation[..., 0],
        discount=jnp.ones(shape),
        next_observation=observation,
        extras={
            "policy_extras": {
                "raw_action": action,
                "log_prob": jnp.zeros(shape) - 8,
                "distribution_params": jnp.zeros((*shape, 2 * ACTION)),
            },
            "state_extras": {"truncation": jnp.zeros(shape)},
        },
    )

    def gradient(params: Any, key: jax.Array) -> Any:
        loss = functools.partial(losses.compute_ppo_loss, ppo_network=network)
        return jax.grad(lambda p: loss(p, statistics, data, key)[0])(params)

    return params, gradient


def overhead(quick: bool, repeats: int, measured: dict[str, float]) -> dict[str, Any]:
    """PPTB at the end of Adam's chain, against Adam alone."""
    window, width, environments = (100, 32, 64) if quick else (2000, 300, 2048)
    steps = 10 if quick else 5
    params, gradient = ppo_update(width, environments)
    size = sum(leaf.size for leaf in jax.tree.leaves(params.policy))
    mask = type(params)(policy=True, value=False)
    trimming = pptb(
        num_kept=min(64, window),
        sample_every=SAMPLE_EVERY,
        trim_every=TRIM_EVERY,
        window=window,
    )
    optimizers = {
        "Adam": optax.adam(3e-4),
        "Adam and PPTB": optax.chain(optax.adam(3e-4), optax.masked(trimming, mask)),
    }
    programs, states, compilation = {}, {}, {}
    for name, optimizer in optimizers.items():

        def train(params: Any, state: Any, key: jax.Array, own: Any = optimizer) -> tuple:
            def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
                params, state = carry
                updates, state = own.update(gradient(params, key), state, params)
                return (optax.apply_updates(params, updates), state), None

            return jax.lax.scan(step, (params, state), jax.random.split(key, steps))[0]

        states[name] = optimizer.init(params)
        # Given away, as a training loop does: the buffer is written where it is.
        lowered = jax.jit(train, donate_argnums=1).lower(params, states[name], jax.random.key(0))
        programs[name] = lowered.compile()
        compilation[name] = programs[name].memory_analysis().temp_size_in_bytes

    def run(name: str) -> None:
        _, states[name] = jax.block_until_ready(
            programs[name](params, states[name], jax.random.key(1))
        )

    for name in programs:
        run(name)
    fill = np.random.default_rng(0).standard_normal((window, size), dtype=np.float32).cumsum(axis=0)
    trim, trim_state = _trimming(trimming, params.policy, jnp.asarray(fill))
    runs = {name: functools.partial(run, name) for name in programs}
    runs["trimming"] = lambda: jax.block_until_ready(trim(trim_state))
    runs["trimming"]()
    seconds = interleaved(runs, repeats)
    step = [one / steps for one in seconds["Adam"]]
    recording = [
        (with_ - without) / steps
        for with_, without in zip(seconds["Adam and PPTB"], seconds["Adam"], strict=True)
    ]
    share = [
        (more + once / TRIM_EVERY) / one
        for more, once, one in zip(recording, seconds["trimming"], step, strict=True)
    ]
    new = min(TRIM_EVERY // SAMPLE_EVERY, window)
    floor = {
        "products of the new snapshots": 2 * new * window * size / measured["float64 flop/s"],
        "weighted sum": 2 * window * size / measured["float64 flop/s"],
        "reading the buffer twice": 2 * 4 * window * size / measured["byte/s"],
        "eigendecomposition, 9 n³": 9 * window**3 / measured["float64 flop/s"],
    }
    rows = [
        {"s": "an update by Adam", **spread(step)},
        {"s": "recording, per update", **spread(recording)},
        {"s": "a trimming", **spread(seconds["trimming"])},
        {
            "s": f"a trimming / {TRIM_EVERY}",
            **spread([x / TRIM_EVERY for x in seconds["trimming"]]),
        },
        {"s": "overhead of an update", **spread(share)},
    ]
    return {
        "title": f"PPTB, {size} parameters of the actor, {window} snapshots",
        "rows": rows,
        "floor of a trimming, s": floor,
        "scratch bytes": compilation,
    }


def _trimming(trimming: Any, params: Any, path: jax.Array) -> tuple[Callable, Any]:
    """Compile an update at which a full window is due, on a state that is kept."""
    state = trimming.init(params)
    window = path.shape[0]
    # A due update of a later time: whole windows have passed.
    updates = jnp.asarray(TRIM_EVERY * (1 + window // 40) - 1, jnp.int32)
    # What the inner products of such a walk are on average, instead of 10^12 flops.
    index = np.arange(1.0, window + 1)
    gram = path.shape[1] * np.minimum.outer(index, index)
    high = gram.astype(np.float32)
    low = (gram - high).astype(np.float32)
    state = state._replace(
        updates=updates,
        snapshots={"network": path},
        products={"network": jnp.asarray(np.stack([high, low]))},
    )
    zero = jax.tree.map(jnp.zeros_like, params)

    def once(state: Any) -> Any:
        return trimming.update(zero, state, params)[0]

    return jax.jit(once), state


def routes(
    torch: ModuleType | None, quick: bool, full: bool, repeats: int, measured: dict[str, float]
) -> list[dict[str, Any]]:
    """The temporal SVD by inner products in float64, and by thin SVDs in float32."""
    sizes = [(50, 2000)] if quick else [(200, 20_000), (500, 20_000)]
    sizes = [*sizes, (2000, 100_000)] if full else sizes
    sections = []
    for number, size in sizes:
        rng = np.random.default_rng(0)
        path = rng.standard_normal((number, size), dtype=np.float32).cumsum(axis=0)
        path /= np.sqrt(size)
        ours, own_time, own_memory = compiled(functools.partial(temporal_svd, center="none"), path)
        gram, _, _ = compiled(lambda one: path_gram(one).parts, path)
        theirs, svd_time, svd_memory = compiled(
            functools.partial(jnp.linalg.svd, full_matrices=False), path
        )
        path = jnp.asarray(path)
        found = np.asarray(ours(path).singular_values)
        exact = np.linalg.svd(np.asarray(path, float), compute_uv=False)
        runs: dict[str, Callable[[], object]] = {
            "fracjax, Gram route, float64": lambda p=path, f=ours: jax.block_until_ready(f(p)),
            "of which inner products": lambda p=path, f=gram: jax.block_until_ready(f(p)),
            "jnp.linalg.svd, float32": lambda p=path, f=theirs: jax.block_until_ready(f(p)),
        }
        errors = {
            "fracjax, Gram route, float64": np.abs(found / exact - 1).max(),
            "jnp.linalg.svd, float32": np.abs(np.asarray(theirs(path)[1]) / exact - 1).max(),
        }
        if torch is not None:
            tensor = torch.from_numpy(np.array(path))
            decompose = functools.partial(torch.linalg.svd, tensor, full_matrices=False)
            threads = best_threads(torch, decompose)
            name = f"torch.linalg.svd, float32, {threads} threads"
            runs[name] = decompose
            errors[name] = np.abs(decompose()[1].numpy() / exact - 1).max()
        for run in runs.values():
            run()
        seconds = interleaved(runs, repeats, shortest=SHORTEST)
        base = seconds["fracjax, Gram route, float64"]
        rows = [
            {
                "way": name,
                "s (min / median / max)": spread(times),
                "times ours": ratios(times, base),
                "worst relative error of σ": float(errors.get(name, np.nan)),
            }
            for name, times in seconds.items()
        ]
        sections.append(
            {
                "title": f"{number} snapshots of {size} parameters",
                "rows": rows,
                "floor, s": {
                    "inner products": 2 * number**2 * size / measured["float64 flop/s"],
                    "reading": 4 * number * size / measured["byte/s"],
                    "eigendecomposition, 9 n³": 9 * number**3 / measured["float64 flop/s"],
                },
                "compilation, s": {"ours": own_time, "jnp.linalg.svd": svd_time},
                "scratch bytes": {"ours": own_memory, "jnp.linalg.svd": svd_memory},
            }
        )
    return sections


def main() -> None:
    parser = options(__doc__, ROUNDS)
    parser.add_argument("--full", action="store_true", help="also an SVD of 2000 × 100 000")
    parser.add_argument("--only", type=some_of(PARTS), default=list(PARTS), help=",".join(PARTS))
    arguments = with_rounds(parser.parse_args(), ROUNDS)
    host, modules, versions = announced(("torch",))
    measured = rates()
    sections = []
    if "routes" in arguments.only:
        sections += routes(
            modules.get("torch"), arguments.quick, arguments.full, arguments.repeats, measured
        )
    if "overhead" in arguments.only:
        sections.append(overhead(arguments.quick, arguments.repeats, measured))
    for section in sections:
        show(section["title"], section["rows"])
        for name, value in section.items():
            if name not in ("title", "rows"):
                print(f"{name}: {value}")
    if arguments.json:
        result = {"machine": host, "packages": versions, "rates": measured, "sections": sections}
        write(result, arguments.json)


if __name__ == "__main__":
    main()
