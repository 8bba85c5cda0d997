"""The second discount at which a single one is looked at."""

__all__ = ["with_companion"]


def with_companion(gamma: float) -> tuple[float, ...]:
    """Add a discount with a tenth of the memory: how α moves with γ is a finding in itself.

    Below γ = .9 a tenth of the memory is less than a step, and half of γ stands for it.

    Raises:
        ValueError: If `gamma` does not lie inside (0, 1).
    """
    if not 0 < gamma < 1:
        msg = f"--discount must lie inside (0, 1), but is {gamma}."
        raise ValueError(msg)
    shorter = round(1 - 10 * (1 - gamma), 12)  # 2e-16 at .9 is none
    return gamma, shorter if shorter > 0 else gamma / 2
