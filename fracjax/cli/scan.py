"""`fracjax scan`: slices through the space of policies, resumable, on any number of machines."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fracjax.cli.options import (
    ActionBoundsOption,
    ActivationOption,
    BackendOption,
    CompilationCacheOption,
    DtypeOption,
    HorizonOption,
    PolicyOption,
    ReturnStatesOption,
    SquashOption,
    StatisticsOption,
    StochasticOption,
    TrustOption,
)
from fracjax.cli.policies import (
    digest,
    in_float64,
    load_environment_and_policy,
    parse_bounds,
    policy_name,
)
from fracjax.cli.runtime import (
    Report,
    bad_input_is_exit_code_2,
    configure_jax,
    naming_options,
    parse_dtype,
    print_json,
    progress_bar,
)
from fracjax.cli.scan_evaluation import ScanEvaluation, is_begun, parse_memory
from fracjax.cli.scan_request import (
    REQUEST_FILE,
    ScanRequest,
    parse_grid,
    parse_point,
    resolved_plane,
)
from fracjax.cli.scan_results import draw, progress, statuses, summarize

__all__ = ["scan"]

_OPTIONS = {"chunk_size": "--chunk", "memory": "--memory"}


@bad_input_is_exit_code_2
def scan(
    environment: Annotated[
        str | None, typer.Argument(help="Environment, see `fracjax info envs`.")
    ] = None,
    backend: BackendOption = None,
    policy: PolicyOption = None,
    activation: ActivationOption = None,
    squash: SquashOption = None,
    statistics: StatisticsOption = None,
    action_bounds: ActionBoundsOption = None,
    plane: Annotated[
        str,
        typer.Option(
            help="Directions: `random` (Gaussian), `filter` (random, scaled as the filters are),"
            " `orthonormal`, `gradient` (and a random one across), `hessian` (top eigenvectors),"
            " `path:FOLDER` (principal components of training snapshots), `through:FILE,FILE`"
            " (one or two more policies) or `file:FILE.npz`."
        ),
    ] = "random",
    measure: Annotated[
        str,
        typer.Option(
            help="`returns`, or `exponents`: Lyapunov and Hölder exponents at every point"
            " (as much work as a thousand returns each)."
        ),
    ] = "returns",
    grid: Annotated[
        str,
        typer.Option(
            help="Points along each direction: 301x301, 301 for a line, 31x31x31 for a box."
        ),
    ] = "61x61",
    span: Annotated[
        float,
        typer.Option(
            help="Half the width: root-mean-square change per parameter; a share of each filter's"
            " length for `filter`. Not used by `path` and `through`, which know theirs."
        ),
    ] = 0.1,
    gamma: Annotated[
        list[float] | None,
        typer.Option(help="Discount factor; repeat for several. Default: 0.99."),
    ] = None,
    horizon: HorizonOption = 1000,
    return_states: ReturnStatesOption = 2,
    stochastic: StochasticOption = False,
    replicates: Annotated[
        int,
        typer.Option(help="With --stochastic: returns per point, for means and standard errors."),
    ] = 1,
    adaptive: Annotated[
        int | None,
        typer.Option(
            help="Evaluate no more than so many points, where interpolation fails: large pictures"
            " such as --grid 4096x4096 --adaptive 800000."
        ),
    ] = None,
    zoom: Annotated[
        int | None,
        typer.Option(help="Zoom in by so many frames, each half as wide; writes zoom.gif."),
    ] = None,
    zoom_at: Annotated[
        str | None,
        typer.Option(help="Coordinates to zoom to, as 0.01,-0.02. Default: the roughest point."),
    ] = None,
    film: Annotated[
        str, typer.Option(help="Format of the zoom: gif, or mp4 (with the extra `movies`).")
    ] = "gif",
    out: Annotated[Path, typer.Option(help="Folder of the scan.")] = Path("fracjax-scan"),
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a scan to go on with; nothing else is needed.")
    ] = None,
    evaluator: Annotated[
        str,
        typer.Option(
            help="`plain`, `affine` (products with matrices that all points share) or `auto`:"
            " measured once."
        ),
    ] = "auto",
    chunk: Annotated[
        int | None,
        typer.Option(help="Points that one device evaluates together. Default: chosen.", min=1),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Bound on the memory for evaluating, such as 512MB or 4GiB. A scan that goes on"
            " keeps its chunk, and is refused where that needs more."
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            help="host:port of process 0, for several processes that run this command with one"
            " --out. Not needed under srun or mpirun."
        ),
    ] = None,
    num_processes: Annotated[
        int | None, typer.Option(help="With --coordinator: how many processes.")
    ] = None,
    process: Annotated[
        int | None, typer.Option(help="With --coordinator: which this one is, from 0.")
    ] = None,
    trust: TrustOption = False,
    dtype: DtypeOption = "float64",
    seed: Annotated[int, typer.Option(help="Seed of states and directions.")] = 0,
    compilation_cache: CompilationCacheOption = True,
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Evaluate the return over a line, plane or box of policies; stop and resume at any time.

    Writes values/ (a Zarr store, for xarray too), scan.json and scan.png. Blocks of points are
    on disk as soon as they are done; the same command, or --resume, goes on from there with the
    same bytes. `fracjax report FOLDER` makes a page, a surface to turn, CSV and VTK of it.

    Example: fracjax scan acrobot --grid 301x301 --span 0.05 --out scans/acrobot

    Two machines: fracjax scan ant --out /shared/ant --coordinator host0:9000 --num-processes 2
    --process 0 (and --process 1 on the other).
    """
    if (environment is None) == (resume is None):
        msg = "give either an environment or --resume FOLDER."
        raise ValueError(msg)
    evaluation = ScanEvaluation(evaluator, chunk, parse_memory(memory))
    evaluation.check()
    if resume is None:
        files = resolved_plane(plane)
        request = ScanRequest(
            environment=str(environment),
            backend=backend,
            policy=_resolved(policy),
            policy_digest=digest(policy),
            activation=activation,
            squash=squash,
            statistics=None if statistics is None else str(statistics.resolve()),
            statistics_digest=digest(None if statistics is None else str(statistics)),
            action_bounds=parse_bounds(action_bounds),
            plane=files[0],
            plane_digests=files[1],
            measure=measure,
            grid=parse_grid(grid),
            span=span,
            gamma=tuple(gamma or (0.99,)),
            horizon=horizon,
            return_states=return_states,
            replicates=replicates,
            stochastic=stochastic,
            dtype=parse_dtype(dtype),
            seed=seed,
            adaptive=adaptive,
            zoom=zoom,
            zoom_at=parse_point(zoom_at),
            film=film,
        )
        folder = out
    else:
        folder = resume
        request = ScanRequest.read(folder)
        if not is_begun(folder):
            evaluation = evaluation.completed(ScanEvaluation.read(folder / REQUEST_FILE))
    request.check()
    configure_jax(request.dtype, compilation_cache=compilation_cache)

    from fracjax import processes

    processes.join(coordinator, num_processes, process)
    if processes.count() > 1 and (request.adaptive or request.zoom):
        msg = "--adaptive and --zoom run in one process."
        raise ValueError(msg)
    with naming_options(_OPTIONS), progress_bar(quiet=processes.index() > 0) as report:
        summary = _run(request, folder, evaluation, trust=trust, report=report)
    if processes.index() > 0:
        return
    if json:
        print_json(summary)
    elif request.zoom:
        floor = sum(frame["status"] == "at_noise_floor" for frame in summary["frames"])
        typer.echo(
            f"{len(summary['frames'])} frames, {floor} of them at the noise floor; film:"
            f" {folder / f'zoom.{request.film}'}, picture: {folder / 'scan.png'}"
        )
    else:
        odd = [s for s in statuses(summary["directions"]) if s != "ok"]
        if odd:
            typer.echo(f"directions: {', '.join(odd)}; see `directions` of --json", err=True)
        counted = f"{summary['points']:,} points"
        if "num_evaluated" in summary:
            counted = (
                f"{summary['num_evaluated']:,} of {counted} evaluated, the others interpolated with"
                f" an error of {summary['interpolation_error']:.3g} ±"
                f" {summary['interpolation_error_stderr']:.2g} (root mean square)"
            )
        typer.echo(
            f"{counted}, {summary['without_a_finite_value']} without a finite value; picture:"
            f" {folder / 'scan.png'}, values: {folder / 'values'}"
        )


def _resolved(policy: str | None) -> str | None:
    """Absolute path of a file, so that --resume works from any folder."""
    return str(Path(policy).resolve()) if policy and Path(policy).exists() else policy


def _run(
    request: ScanRequest,
    folder: Path,
    evaluation: ScanEvaluation,
    *,
    trust: bool,
    report: Report,
) -> dict[str, Any]:
    """Evaluate what is missing, draw, and sum up."""
    import jax

    from fracjax import landscapes, processes
    from fracjax.cli.scan_grid import make_grid
    from fracjax.cli.scan_pictures import adaptive, zoom
    from fracjax.diagnosis import fractality, problem_of_policy

    environment, policy = load_environment_and_policy(
        request.environment,
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
    if processes.index() == 0:
        request.check_folder(folder)  # before directions are computed
    request.check_files(folder)
    key = jax.random.key(request.seed)
    exponents = request.measure == "exponents"
    reference = None
    if exponents and request.dtype == "float32":
        reference = in_float64(environment, policy, request.backend)
    problem = problem_of_policy(
        environment,
        policy,
        jax.random.fold_in(key, 0),
        discounts=request.gamma,
        horizon=request.horizon,
        num_return_states=request.return_states,
        num_states=max(8, request.return_states) if exponents else request.return_states,
        stochastic=request.stochastic,
        reference=reference,
    )
    report("directions", 0, 0)
    returns = problem.objective
    grid, centre, placed = make_grid(
        request,
        lambda params, key: returns(params, key)[0],
        problem.params,
        jax.random.fold_in(key, 1),
        trust=trust,
    )
    if processes.index() == 0:
        request.write(folder, **({} if is_begun(folder) else evaluation.document()))
    title = f"{environment.name}, {policy_name(policy.info.origin)}"
    objective_key = jax.random.fold_in(key, 2)
    if request.adaptive or request.zoom:
        place = (lambda params, key: returns(params, key)[0], centre, grid, objective_key, folder)
        if request.zoom:
            frames = zoom(request, *place, evaluation, title=title, report=report)
            return {"folder": str(folder), "frames": frames, "request": request.document()}
        data = adaptive(request, *place, evaluation, report=report)
    else:
        objective: Callable = returns
        if exponents:
            objective = fractality(problem, jax.random.fold_in(key, 3))
            # A point's own returns fill a device.
            evaluation = ScanEvaluation(
                "plain", evaluation.chunk_size or 1, memory=evaluation.memory
            )
        data = landscapes.scan(
            objective,
            centre,
            grid,
            objective_key,
            num_replicates=request.replicates,
            on_progress=progress(request, report, processes.count(), counts_steps=not exponents),
            store=folder / "values",
            config=request.document(),
            **dataclasses.asdict(evaluation),
        )
    if processes.index() > 0:
        return {}
    report("picture", 0, 0)
    draw(data, placed, request, title, folder / "scan.png")
    return summarize(data, request, folder)
