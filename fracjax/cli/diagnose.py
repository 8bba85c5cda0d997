"""`fracjax diagnose`: is this policy's landscape smooth, or fractal?"""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracjax.cli.discounts import with_companion
from fracjax.cli.options import (
    ActionBoundsOption,
    ActivationOption,
    BackendOption,
    CompilationCacheOption,
    DtypeOption,
    HorizonOption,
    JsonOption,
    PolicyOption,
    ReturnStatesOption,
    SquashOption,
    StatisticsOption,
    StochasticOption,
    TrustOption,
)
from fracjax.cli.policies import (
    NAMED_POLICIES,
    digest,
    in_float64,
    load_environment_and_policy,
    parse_bounds,
    policy_name,
)
from fracjax.cli.runtime import (
    Report,
    bad_input_is_exit_code_2,
    check_seed,
    configure_jax,
    parse_dtype,
    print_json,
    progress_bar,
    versions,
)

if TYPE_CHECKING:
    from fracjax.diagnosis import Diagnosis, Settings
    from fracjax.reports import Case
    from fracjax.rl.environment import Environment
    from fracjax.rl.policies import Policy

__all__ = ["diagnose"]

_DEFAULT_CASES = ("acrobot", "pendulum")
_DEFAULT_GAMMA = 0.99
_MAX_STEPS = 1_000_000
_TRAINING_SHOWN = ("algorithm", "seed", "steps", "return", "why")


@dataclasses.dataclass(frozen=True)
class _Request:
    """What was asked for, checked; everything that decides the numbers."""

    environments: tuple[str, ...]
    backend: str | None
    policy: str | None
    activation: str | None
    squash: str | None
    statistics: str | None
    action_bounds: tuple[float, float] | None
    gamma: tuple[float, ...]
    horizon: int
    states: int
    return_states: int
    exponents: int
    directions: int
    samples: int
    largest_scale: float | None
    smallest_scale: float | None
    stochastic: bool
    quick: bool
    dtype: str
    seed: int


@bad_input_is_exit_code_2
def diagnose(
    environment: Annotated[
        str | None,
        typer.Argument(
            help="Environment, see `fracjax info envs`. Without one: acrobot, and pendulum as"
            " the control that cannot be chaotic.",
            show_default=False,
        ),
    ] = None,
    backend: BackendOption = None,
    policy: PolicyOption = None,
    activation: ActivationOption = None,
    squash: SquashOption = None,
    statistics: StatisticsOption = None,
    action_bounds: ActionBoundsOption = None,
    gamma: Annotated[
        list[float] | None,
        typer.Option(
            help="Discount factor; repeat for several. A single one is shown beside a companion"
            " with a tenth of its memory. Default: 0.99."
        ),
    ] = None,
    horizon: HorizonOption = 1000,
    states: Annotated[int, typer.Option(help="Initial states of the Lyapunov exponents.")] = 16,
    return_states: ReturnStatesOption = 2,
    exponents: Annotated[int, typer.Option(help="How many leading Lyapunov exponents.")] = 2,
    directions: Annotated[int, typer.Option(help="Random lines of the Hölder estimate.")] = 32,
    samples: Annotated[int, typer.Option(help="Perturbations per σ of the paper's estimate.")] = 64,
    largest_scale: Annotated[
        float | None,
        typer.Option(help="Largest σ and lag, per parameter. Default: .1 of the parameters."),
    ] = None,
    smallest_scale: Annotated[
        float | None,
        typer.Option(help="Smallest σ and spacing. Default: by precision and horizon."),
    ] = None,
    stochastic: StochasticOption = False,
    trust: TrustOption = False,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("fracjax-diagnosis"),
    overwrite: Annotated[
        bool, typer.Option(help="Replace results of another configuration.")
    ] = False,
    dtype: DtypeOption = "float64",
    seed: Annotated[int, typer.Option(help="Seed of states, directions and perturbations.")] = 0,
    quick: Annotated[bool, typer.Option(help="A tenth of the work: a first look.")] = False,
    compilation_cache: CompilationCacheOption = True,
    json: JsonOption = False,
) -> None:
    """Measure chaos and roughness around a policy, and say what its landscape is.

    Writes report.html (figures inside), results.json and the figures as PNG.

    Example: fracjax diagnose hopper --backend spring --policy hopper.msgpack --horizon 200
    """
    request = _Request(
        environments=_DEFAULT_CASES if environment is None else (environment,),
        backend=backend,
        policy=policy,
        activation=activation,
        squash=squash,
        statistics=None if statistics is None else str(statistics),
        action_bounds=parse_bounds(action_bounds),
        gamma=_discounts(tuple(gamma or (_DEFAULT_GAMMA,))),
        horizon=min(horizon, 300) if quick else horizon,
        states=states,
        return_states=return_states,
        exponents=exponents,
        directions=12 if quick else directions,
        samples=16 if quick else samples,
        largest_scale=largest_scale,
        smallest_scale=smallest_scale,
        stochastic=stochastic,
        quick=quick,
        dtype=parse_dtype(dtype),
        seed=seed,
    )
    _check(request)
    configure_jax(dtype, compilation_cache=compilation_cache)
    from fracjax import reports

    pairs = [_load(request, name, trust=trust) for name in request.environments]
    # After the policy was read: only then is a folder known to be a checkpoint.
    configuration = {
        "command": "diagnose",
        **dataclasses.asdict(request),
        "policy_digest": digest(policy),
        "statistics_digest": digest(request.statistics),
    }
    reports.check_output(out, configuration, overwrite=overwrite)

    cases, results = [], []
    with progress_bar() as report:
        for env, loaded in pairs:
            title = f"{env.name}, {policy_name(loaded.info.origin)}"
            finding = _run(request, env, loaded, title, report)
            case, result = _present(request, env, loaded, title, finding)
            cases.append(case)
            results.append(result)
        report("report", 0, 0)
        document = {"configuration": configuration, "versions": versions(), "cases": results}
        command = shlex.join(["fracjax", *sys.argv[1:]])
        files = reports.write_results(
            out, cases, document, title="fracjax diagnosis", command=command
        )
    if json:
        print_json(document)
    else:
        from fracjax.cli.tables import print_tables

        print_tables(results)
        typer.echo(f"\nreport: {files[0]}")


def _discounts(gamma: tuple[float, ...]) -> tuple[float, ...]:
    """Give a single discount its companion; one that cannot be is refused in `_check`."""
    alone = len(gamma) == 1 and 0 < gamma[0] < 1
    return with_companion(gamma[0]) if alone else gamma


def _check(request: _Request) -> None:
    """Refuse what cannot work before anything is imported, compiled or written."""
    check_seed(request.seed)
    if not all(0 < gamma < 1 for gamma in request.gamma):
        msg = f"--gamma must lie inside (0, 1), but is {list(request.gamma)}."
        raise ValueError(msg)
    if request.policy not in NAMED_POLICIES and len(request.environments) > 1:
        msg = f"--policy {request.policy} needs the name of its environment."
        raise ValueError(msg)
    if len(set(request.gamma)) != len(request.gamma):
        msg = f"--gamma must not repeat a value, but is {list(request.gamma)}."
        raise ValueError(msg)
    bounds = {
        "horizon": (20, _MAX_STEPS),
        "states": (2, 4096),
        "return_states": (1, 4096),
        "exponents": (1, 1024),
        "directions": (8, 4096),
        "samples": (8, 65536),
    }
    for name, (low, high) in bounds.items():
        value = getattr(request, name)
        if not low <= value <= high:
            msg = f"--{name.replace('_', '-')} must lie between {low} and {high}, but is {value}."
            raise ValueError(msg)
    if request.return_states > request.states:
        msg = (
            f"--return-states must not exceed --states, but they are {request.return_states}"
            f" and {request.states}."
        )
        raise ValueError(msg)
    largest, smallest = scales = request.largest_scale, request.smallest_scale
    if any(scale is not None and not 0 < scale < 1e6 for scale in scales):
        msg = f"--largest-scale and --smallest-scale must be positive, but are {scales}."
        raise ValueError(msg)
    if largest is not None and smallest is not None and not smallest < largest / 100:
        msg = (
            "--smallest-scale must be below a hundredth of --largest-scale: an exponent needs"
            f" two decades, but they are {smallest} and {largest}."
        )
        raise ValueError(msg)


def _load(request: _Request, name: str, *, trust: bool) -> "tuple[Environment, Policy]":
    """Make the environment and read the policy that fits it."""
    environment, policy = load_environment_and_policy(
        name,
        request.policy,
        backend=request.backend,
        dtype=request.dtype,
        seed=request.seed,
        stochastic=request.stochastic,
        trust=trust,
        activation=request.activation,
        squash=request.squash,
        statistics=request.statistics,
        action_bounds=request.action_bounds,
    )
    if request.exponents > environment.state_size:
        msg = (
            f"--exponents must not exceed the {environment.state_size} coordinates of"
            f" {name}, but is {request.exponents}."
        )
        raise ValueError(msg)
    return environment, policy


def _settings(request: _Request) -> "Settings":
    from fracjax.diagnosis import Settings

    return Settings(
        num_exponents=request.exponents,
        num_directions=request.directions,
        points_per_line=34 if request.quick else 40,
        num_samples=request.samples,
        largest_scale=request.largest_scale,
        smallest_scale=request.smallest_scale,
        line_points=129 if request.quick else 257,
        plane_points=15 if request.quick else 61,
    )


def _run(
    request: _Request, environment: "Environment", policy: "Policy", title: str, report: Report
) -> "Diagnosis":
    """Diagnose one policy."""
    import jax

    from fracjax.diagnosis import diagnose as run
    from fracjax.diagnosis import problem_of_policy

    key = jax.random.key(request.seed)
    reference = None
    if request.dtype == "float32" and not request.stochastic:  # float64 draws other noise
        reference = in_float64(environment, policy, request.backend)
    problem = problem_of_policy(
        environment,
        policy,
        jax.random.fold_in(key, 0),
        discounts=request.gamma,
        horizon=request.horizon,
        num_return_states=request.return_states,
        num_states=request.states,
        stochastic=request.stochastic,
        reference=reference,
    )
    name = title.split(",")[0]
    return run(
        problem,
        jax.random.fold_in(key, 1),
        _settings(request),
        on_progress=lambda stage, done, total: report(
            f"{name}: {stage}", done, total, f"{done:,} points" if done else ""
        ),
    )


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _present(
    request: _Request,
    environment: "Environment",
    policy: "Policy",
    title: str,
    finding: "Diagnosis",
) -> "tuple[Case, dict[str, Any]]":
    """Make what the page shows and what the JSON holds of one case."""
    from fracjax.diagnosis import summary
    from fracjax.plotting import diagnosis_figures
    from fracjax.reports import Case

    numbers = summary(finding, dt=environment.dt)
    training = dict(policy.info.training)
    described = {
        "environment": f"{environment.name} ({environment.backend}), dt = {environment.dt:g} s",
        "policy": f"{policy.info.origin}, {policy.network.description}",
        "training": "; ".join(
            f"{name}: {_shown(training[name])}" for name in _TRAINING_SHOWN if name in training
        ),
        "return": f"horizon {request.horizon} steps, {request.return_states} initial states,"
        f" {'stochastic' if request.stochastic else 'deterministic'} policy, {request.dtype}",
        "seed": str(request.seed),
    }
    shown = [(key, value) for key, value in described.items() if value]
    figures = diagnosis_figures(finding, title=title, dt=environment.dt)
    result = {"title": title, "description": dict(shown), "dt": environment.dt, **numbers}
    return Case(title, shown, numbers, figures), result
