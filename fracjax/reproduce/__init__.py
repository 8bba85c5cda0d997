"""Recompute published and exact numbers, and say which agree: `fracjax reproduce NAME`."""

from fracjax.reproduce.experiments import Experiment as Experiment
from fracjax.reproduce.experiments import experiments as experiments
from fracjax.reproduce.rows import Row as Row
from fracjax.reproduce.run import run as run

__all__ = ["Experiment", "Row", "experiments", "run"]
