"""Named systems with everything a check of exponents needs, defined once.

`get("lorenz63")` returns a step, a state near its attractor, the time per step, the transient
to leave out, and what theory says of the exponents. Tests, benchmarks and tables of
references mean the same thing by a name.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Invariants, PyTree, StepFunction
from fracjax.systems import flows, known_values, lattices, maps, recurrent, spatial
from fracjax.systems.integrators import rk4, yoshida4
from fracjax.systems.training_maps import ellipse

__all__ = ["System", "get", "names"]


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """A system whose exponents can be checked.

    Attributes:
        name: Its name in the catalogue.
        step: One step.
        start: Initial state, its floating leaves NumPy arrays in float64.
        dt: Time per step; 1 for maps.
        invariants: What the exponents must obey.
        num_transient: Steps until the orbit is on its attractor and the frame aligned.
        num_exponents: How many leading exponents to ask for, where the others cannot be
            resolved or cost too much; `None` for all.
        exact: All exponents, largest first, where a formula gives them.
    """

    name: str
    step: StepFunction
    start: PyTree
    dt: float
    invariants: Invariants
    num_transient: int
    num_exponents: int | None = None
    exact: tuple[float, ...] | None = None

    @property
    def state(self) -> PyTree:
        """Initial state, in JAX's default floating dtype."""
        return jax.tree.map(jnp.asarray, self.start)


def names() -> tuple[str, ...]:
    """List the names that `get` knows."""
    return tuple(_BUILDERS)


@functools.cache
def get(name: str) -> System:
    """Look a system up; the same object, and so the same compiled step, every time.

    Raises:
        ValueError: If the catalogue has no such name.

    Example:
        >>> from fracjax import systems
        >>> lorenz = systems.catalogue.get("lorenz63")
        >>> lorenz.dt, lorenz.state.shape, lorenz.invariants.num_neutral
        (0.01, (3,), 1)
    """
    if name not in _BUILDERS:
        msg = f"Argument `name` must be one of {', '.join(_BUILDERS)}, but is {name!r}."
        raise ValueError(msg)
    with jax.ensure_compile_time_eval():  # what is kept must not belong to a trace
        return dataclasses.replace(_BUILDERS[name](), name=name)


def _map(
    step: StepFunction,
    start: PyTree,
    growth: float | Callable[[PyTree], Array],
    *,
    symplectic: bool = False,
    transient: int = 1000,
    exact: Sequence[float] | None = None,
) -> System:
    """Describe a map; the name is filled in by `get`."""
    invariants = Invariants(growth, 0, symplectic)
    exact = None if exact is None else tuple(float(exponent) for exponent in exact)
    return System("", step, start, 1.0, invariants, transient, exact=exact)


def _flow(
    step: StepFunction,
    start: Sequence[float] | np.ndarray,
    dt: float,
    divergence: float | Callable[[PyTree], Array],
    *,
    transient: int,
    neutral: int = 1,
    exact: Sequence[float] | None = None,
) -> System:
    """Describe a flow made a step of; the transient is in units of time."""
    invariants = Invariants(divergence, neutral)
    exact = None if exact is None else tuple(exact)
    start = np.asarray(start, np.float64)
    return System("", step, start, dt, invariants, round(transient / dt), exact=exact)


def _log_determinant(step: StepFunction) -> Callable[[PyTree], Array]:
    """Make ln|det Df| of a map of scalars or short vectors."""
    return lambda state: jnp.linalg.slogdet(jnp.atleast_2d(jax.jacfwd(step)(state)))[1]


# --- maps -----------------------------------------------------------------------------------

_PLANE = np.array([0.3, 0.2])


def _interval(step: StepFunction, *, exact: float | None = None) -> System:
    known = None if exact is None else [exact]
    return _map(step, np.array(0.2345), _log_determinant(step), transient=100, exact=known)


def _area_preserving(step: StepFunction, exact: float | None = None) -> System:
    known = None if exact is None else [exact, -exact]
    return _map(step, _PLANE, 0.0, symplectic=True, transient=100, exact=known)


def _baker(cut: float) -> System:
    return _area_preserving(maps.baker(cut), known_values.baker_exponent(cut))


def _gaussian_products(size: int) -> System:
    step = maps.gaussian_products()

    def growth(state: PyTree) -> Array:
        key, vector = state
        return _log_determinant(lambda moved: step((key, moved))[1])(vector)

    start = (jax.random.key(7), np.zeros(size))
    exact = known_values.ginibre_exponents(size)
    return _map(step, start, growth, transient=50, exact=exact)


def _towel() -> System:
    step = maps.folded_towel()
    return _map(step, np.array([0.085, -0.121, 0.075]), _log_determinant(step))


def _sites(size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=size)


def _bernoulli_ring(size: int, factor: float, coupling: float) -> System:
    exact = lattices.coupled_ring_exponents(math.log(factor), coupling, size)
    step = lattices.coupled_ring(maps.expanding(factor), coupling)
    return _map(step, _sites(size), float(exact.sum()), exact=exact.tolist())


def _tent_ring(size: int, slope: float, coupling: float) -> System:
    together = lattices.coupled_ring_exponents(math.log(slope), coupling, size)
    step = lattices.coupled_ring(maps.tent(slope), coupling)
    return _map(step, _sites(size), float(together.sum()))


def _quadratic_ring(size: int, coupling: float) -> System:
    local = maps.quadratic()
    growth = functools.partial(lattices.coupled_ring_growth, local, coupling)
    return _map(lattices.coupled_ring(local, coupling), 2 * _sites(size) - 1, growth)


def _product_ellipse(step_size: float) -> System:
    step = ellipse.ellipse_map(step_size)
    across = (1 + math.sqrt(25 - 4 * step_size**2)) / 4
    exact = [math.log(3), math.acosh(across)]
    return _map(step, np.array([1.5, 0.5]), _log_determinant(step), transient=100, exact=exact)


def _orthogonal(size: int, scale: float) -> System:
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    exact = [math.log(scale)] * size
    return _map(maps.linear(scale * basis), np.zeros(size), sum(exact), transient=0, exact=exact)


def _couplings(size: int, gain: float, *, zero_diagonal: bool = False) -> np.ndarray:
    draw = recurrent.gaussian_coupling(jax.random.key(0), size, gain, zero_diagonal=zero_diagonal)
    return np.asarray(draw, np.float64)


def _tanh_network(size: int, gain: float, num_exponents: int | None) -> System:
    matrix = _couplings(size, gain)
    growth = recurrent.tanh_network_growth(matrix)
    system = _map(recurrent.tanh_network(matrix), _sites(size), growth)
    return dataclasses.replace(system, num_exponents=num_exponents)


# --- flows ----------------------------------------------------------------------------------


def _lorenz63(sigma: float, rho: float, beta: float, dt: float) -> System:
    step = rk4(flows.lorenz63(sigma, rho, beta), dt)
    return _flow(step, [1.0, 1.0, 20.0], dt, -(sigma + 1 + beta), transient=20)


def _lorenz96(size: int, forcing: float, dt: float) -> System:
    start = np.full(size, forcing)
    start[0] += 0.01
    return _flow(rk4(flows.lorenz96(forcing), dt), start, dt, -float(size), transient=50)


def _rossler() -> System:
    step = rk4(flows.rossler(), 0.01)
    return _flow(step, [-5.0, -5.0, 0.0], 0.01, lambda s: 0.2 + s[0] - 5.7, transient=200)


def _hyper_rossler() -> System:
    step = rk4(flows.hyper_rossler(), 0.005)
    start = [-20.0, 0.0, 0.0, 15.0]
    return _flow(step, start, 0.005, lambda s: 0.25 + 0.05 + s[0], transient=500)


def _chen() -> System:
    return _flow(rk4(flows.chen(), 0.002), [3.0, 4.0, 20.0], 0.002, -10.0, transient=20)


def _lorenz84(meridional: float) -> System:
    step = rk4(flows.lorenz84(meridional=meridional), 0.02)
    return _flow(step, [1.0, 0.5, 0.5], 0.02, lambda s: 2 * s[0] - 2.25, transient=200)


def _duffing() -> System:
    dt = math.pi / 200
    return _flow(rk4(flows.duffing(), dt), [2.5, 0.0, 0.0], dt, -0.05, transient=200)


def _henon_heiles() -> System:
    step = yoshida4(flows.henon_heiles_force(), 0.05)
    start = np.array([0.0, -0.25, 0.42081, 0.0])
    return System("", step, start, 0.05, Invariants(0.0, 2, symplectic=True), 0)


def _stuart_landau() -> System:
    step = rk4(flows.stuart_landau(), 0.01)

    def divergence(state: Array) -> Array:
        return 2 - 4 * jnp.sum(state**2)

    return _flow(step, [0.5, 0.0], 0.01, divergence, transient=20, exact=(0.0, -2.0))


def _damped() -> System:
    step = rk4(flows.damped_linear(0.9), 0.01)
    return _flow(step, [1.0], 0.01, -0.9, transient=0, neutral=0, exact=(-0.9,))


def _rate_network(size: int, gain: float) -> System:
    field = recurrent.rate_network(_couplings(size, gain, zero_diagonal=True))
    system = _flow(rk4(field, 0.1), _sites(size), 0.1, -float(size), transient=200)
    return dataclasses.replace(system, num_exponents=16)


def _kuramoto_sivashinsky(dt: float, num_points: int, num_exponents: int | None) -> System:
    length = 22.0
    step = spatial.kuramoto_sivashinsky(length, dt, num_points=num_points)
    rates = spatial.kuramoto_sivashinsky_rates(length, num_points)
    start = np.zeros(len(rates))
    start[:3] = 0.3, 0.2, 0.1
    start[len(rates) // 2] = -0.2
    system = _flow(step, start, dt, float(rates.sum()), transient=500, neutral=2)
    return dataclasses.replace(system, num_exponents=num_exponents)


_BUILDERS: dict[str, Callable[[], System]] = {
    "logistic r=4": lambda: _interval(maps.logistic(4.0), exact=math.log(2)),
    "logistic r=3.8": lambda: _interval(maps.logistic(3.8)),
    "tent 1.9": lambda: _interval(maps.tent(1.9), exact=math.log(1.9)),
    "expanding 3": lambda: _interval(maps.expanding(3.0), exact=math.log(3)),
    "cat": lambda: _area_preserving(maps.cat(), known_values.CAT_EXPONENT),
    "baker 1/2": lambda: _baker(1 / 2),
    "baker 1/3": lambda: _baker(1 / 3),
    "standard K=1": lambda: _area_preserving(maps.standard(1.0)),
    "standard K=2": lambda: _area_preserving(maps.standard(2.0)),
    "standard K=5": lambda: _area_preserving(maps.standard(5.0)),
    "standard K=10": lambda: _area_preserving(maps.standard(10.0)),
    "henon": lambda: _map(maps.henon(), np.zeros(2), math.log(0.3)),
    "ikeda 0.9": lambda: _map(maps.ikeda(), np.zeros(2), 2 * math.log(0.9)),
    "folded towel": _towel,
    "ginibre 2": lambda: _gaussian_products(2),
    "ginibre 8": lambda: _gaussian_products(8),
    "bernoulli ring 3, N=16": lambda: _bernoulli_ring(16, 3.0, 0.3),
    "tent ring 1.9, N=16": lambda: _tent_ring(16, 1.9, 0.3),
    "quadratic ring N=32": lambda: _quadratic_ring(32, 0.3),
    "orthogonal 0.9, N=16": lambda: _orthogonal(16, 0.9),
    "product map, ellipse 1.5": lambda: _product_ellipse(1.5),
    "tanh network g=3, N=64": lambda: _tanh_network(64, 3.0, None),
    "tanh network g=3, N=512": lambda: _tanh_network(512, 3.0, 8),
    "damped 0.9": _damped,
    "stuart-landau": _stuart_landau,
    "lorenz63": lambda: _lorenz63(10.0, 28.0, 8 / 3, 0.01),
    "lorenz63 16, 45.92, 4": lambda: _lorenz63(16.0, 45.92, 4.0, 0.005),
    "lorenz84 G=1": lambda: _lorenz84(1.0),
    "lorenz84 G=1.23": lambda: _lorenz84(1.23),
    "chen": _chen,
    "rossler": _rossler,
    "hyper-rossler": _hyper_rossler,
    "duffing": _duffing,
    "henon-heiles": _henon_heiles,
    "lorenz96 N=4, F=20": lambda: _lorenz96(4, 20.0, 0.01),
    "lorenz96 N=36": lambda: _lorenz96(36, 8.0, 0.02),
    "lorenz96 N=40": lambda: _lorenz96(40, 8.0, 0.02),
    "rate network g=3, N=128": lambda: _rate_network(128, 3.0),
    "kuramoto-sivashinsky L=22": lambda: _kuramoto_sivashinsky(0.1, 64, 16),
    "kuramoto-sivashinsky L=22, 10 modes": lambda: _kuramoto_sivashinsky(0.025, 32, None),
}
