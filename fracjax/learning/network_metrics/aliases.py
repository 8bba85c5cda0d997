"""Who calls which metric by what name: the names of papers and their code are not those of others.

for alias in find_aliases("stable rank"):
    print(alias.source, alias.metric, alias.settings)
"""

from typing import NamedTuple

__all__ = ["ALIASES", "Alias", "find_aliases"]


class Alias(NamedTuple):
    """One name in use.

    Attributes:
        source: Paper or code that uses it.
        name: Its name there.
        metric: The function here, of `units` or `ranks` if nothing else is said, or the field of
            `NetworkMetrics.network`.
        settings: Arguments that make them equal, as Python would write them.
        remark: What else differs.
    """

    source: str
    name: str
    metric: str
    settings: str = ""
    remark: str = ""


ALIASES: tuple[Alias, ...] = (
    Alias("Sokar et al. 2023", "dead neurons", "dormant_units", "tau=0"),
    Alias("Sokar et al. 2023", "dormant neurons", "dormant_units", "tau=0.1"),
    Alias(
        "Dopamine, labs/redo",
        "dead neurons",
        "dormant_units",
        "tau=dead_neurons_threshold",
        "adds 1e-9 to the mean of a layer; the last layer is not counted",
    ),
    Alias(
        "Dohare et al. 2024, permuted MNIST",
        "dead units",
        "dead_units",
        "threshold=0",
        "2000 inputs",
    ),
    Alias(
        "Dohare et al. 2024, incremental CIFAR",
        "dormant units",
        "soft_dead_units",
        "definition='dohare_2024'",
        "not τ-dormant: h ≠ 0 on less than 1 % of 1000 images and their places",
    ),
    Alias("Joudaki et al. 2025", "dead neurons", "soft_dead_units", "definition='joudaki_2025'"),
    Alias("Joudaki et al. 2025", "duplicate neurons", "duplicate_units", "cosine=0.95"),
    Alias(
        "Juliani and Ash 2024",
        "dead units",
        "zero_activations",
        "",
        "a share of activations, not of units",
    ),
    Alias("Juliani and Ash 2024", "saturated units", "saturated_activations", "function='tanh'"),
    Alias("Roy and Vetterli 2007", "effective rank", "effective_rank"),
    Alias("Dohare et al. 2024", "effective rank", "effective_rank"),
    Alias("Kumar et al. 2021", "effective rank", "srank", "delta=0.01"),
    Alias("Kumar et al. 2021", "srank", "srank", "delta=0.01"),
    Alias("Dohare et al. 2024, code", "stable rank", "srank", "delta=0.01"),
    Alias("Rudelson and Vershynin 2007", "stable rank", "stable_rank"),
    Alias(
        "Joudaki et al. 2025",
        "stable rank",
        "participation_ratio",
        "",
        "of features centred over the batch, at most 1024 samples",
    ),
    Alias("Yang et al. 2020", "approximate rank", "approximate_rank", "share=0.99"),
    Alias(
        "Tang et al. 2024",
        "approximate rank",
        "major_dimensionality",
        "share=0.99",
        "by σ and not σ²: fracjax.learning.major_dimensionality",
    ),
    Alias("Lyle et al. 2022", "feature rank", "feature_rank", "threshold=0.01"),
    Alias(
        "timoklein/infer",
        "feature rank",
        "feature_rank",
        "threshold=0.01, num_samples=1",
        "without 1/√n",
    ),
    Alias(
        "mahdigheidi/Masters-Study-Project",
        "feature rank",
        "feature_rank",
        "threshold=1e-5",
        "of features centred over the batch",
    ),
    Alias("NumPy", "matrix_rank", "numerical_rank"),
    Alias("Gao et al. 2017", "participation ratio", "participation_ratio"),
    Alias(
        "Dohare et al. 2024, code",
        "adaptable contribution",
        "unit_utility",
        "",
        "in fracjax.learning.interventions.continual_backprop",
    ),
    Alias("Lyle et al. 2023", "weight norm", "weight_norm"),
    Alias("Dohare et al. 2024", "average weight magnitude", "mean_weight"),
    Alias(
        "Dohare et al. 2024, permuted MNIST",
        "weight magnitude",
        "mean_weight",
        "",
        "sums |w| over a layer instead of averaging",
    ),
)


def find_aliases(name: str) -> tuple[Alias, ...]:
    """Find every entry of `ALIASES` whose name holds the words, in any case.

    Args:
        name: Such as "stable rank"; underscores count as blanks.
    """
    wanted = name.lower().replace("_", " ")
    return tuple(alias for alias in ALIASES if wanted in alias.name.lower().replace("_", " "))
