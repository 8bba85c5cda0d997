"""Options that several commands take, said once."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ActionBoundsOption",
    "ActivationOption",
    "AlgorithmOption",
    "BackendOption",
    "CompilationCacheOption",
    "DtypeOption",
    "HorizonOption",
    "JsonOption",
    "PolicyOption",
    "ReturnStatesOption",
    "SquashOption",
    "StatisticsOption",
    "StepsOption",
    "StochasticOption",
    "TrustOption",
]

BackendOption = Annotated[str | None, typer.Option(help="Physics backend of a Brax environment.")]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        help="A file (.msgpack, .npz, Brax checkpoint, .zip of Stable-Baselines3, torch"
        " state_dict), `trained` (ships with fracjax, the default) or `untrained`."
    ),
]
ActivationOption = Annotated[
    str | None,
    typer.Option(help="Activation of a torch policy. Default: its library's."),
]
SquashOption = Annotated[
    str | None,
    typer.Option(help="tanh or clip: how a torch policy of unknown layout ends."),
]
StatisticsOption = Annotated[
    Path | None,
    typer.Option(
        help="Mean and variance that normalised a torch policy's observations: .npz, or"
        " vec_normalize.pkl with --trust."
    ),
]
ActionBoundsOption = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH", help="Box of a torch policy that does not say its own."),
]
HorizonOption = Annotated[int, typer.Option(help="Steps of a return.")]
ReturnStatesOption = Annotated[
    int, typer.Option(help="Initial states that a return averages over.")
]
StochasticOption = Annotated[
    bool, typer.Option(help="Returns of the stochastic policy, common random numbers.")
]
TrustOption = Annotated[
    bool, typer.Option(help="Read a pickle (Brax's save_params), restricted to arrays.")
]
DtypeOption = Annotated[str, typer.Option(help="float32 or float64.")]
AlgorithmOption = Annotated[str, typer.Option(help="Training algorithm: ppo or sac.")]
StepsOption = Annotated[
    int | None, typer.Option(help="Environment steps. Default: by environment.")
]
CompilationCacheOption = Annotated[
    bool, typer.Option(help="Keep compiled programs on disk for the next run.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
