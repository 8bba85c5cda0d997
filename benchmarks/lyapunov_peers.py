"""Lyapunov exponents the other way: loops in NumPy, SciPy and PyTorch.

The loops do what `lyapunov_spectrum` does: the same map or the same Runge–Kutta step, its
derivative written by hand, a QR factorisation after every step, the same initial frame. They
must therefore give the same exponents, up to the growth of rounding errors. Arrays of
components run along the leading axis: a state is (d, …), a frame (d, k, …).
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

__all__ = [
    "DT",
    "PUSHES",
    "cholesky_qr",
    "device",
    "floss_in_torch",
    "gram_schmidt",
    "loop",
    "lorenz96_in_torch",
    "network_in_torch",
    "qr",
    "solve_lorenz",
    "torch_chain",
]

DT = 0.01  # of the Lorenz system's Runge–Kutta step
SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
Push = Callable[[Any, Any], tuple[Any, Any]]


def runge_kutta(field: Push, dt: float) -> Push:
    def push(x: Any, frame: Any) -> tuple[Any, Any]:
        a, i = field(x, frame)
        b, j = field(x + dt / 2 * a, frame + dt / 2 * i)
        c, k = field(x + dt / 2 * b, frame + dt / 2 * j)
        d, m = field(x + dt * c, frame + dt * k)
        return x + dt / 6 * (a + 2 * (b + c) + d), frame + dt / 6 * (i + 2 * (j + k) + m)

    return push


def henon(xp: ModuleType) -> Push:
    def push(state: Any, frame: Any) -> tuple[Any, Any]:
        (x, y), (u, v) = state, frame
        return xp.stack([1 - 1.4 * x**2 + y, 0.3 * x]), xp.stack([-2.8 * x * u + v, 0.3 * u])

    return push


def folded_towel(xp: ModuleType) -> Push:
    def push(state: Any, frame: Any) -> tuple[Any, Any]:
        (x, y, z), (u, v, w) = state, frame
        fold, bend = (y + 0.35) * (1 - 2 * z), 1 - 1.9 * x
        folded = (1 - 2 * z) * v - 2 * (y + 0.35) * w
        moved = [
            3.8 * x * (1 - x) - 0.05 * fold,
            0.1 * (fold - 1) * bend,
            3.78 * z * (1 - z) + 0.2 * y,
        ]
        pushed = [
            3.8 * (1 - 2 * x) * u - 0.05 * folded,
            0.1 * bend * folded - 0.19 * (fold - 1) * u,
            3.78 * (1 - 2 * z) * w + 0.2 * v,
        ]
        return xp.stack(moved), xp.stack(pushed)

    return push


def lorenz(xp: ModuleType) -> Push:
    def field(state: Any, frame: Any) -> tuple[Any, Any]:
        (x, y, z), (u, v, w) = state, frame
        slope = xp.stack([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z])
        return slope, xp.stack(
            [SIGMA * (v - u), (RHO - z) * u - v - x * w, y * u + x * v - BETA * w]
        )

    return runge_kutta(field, DT)


PUSHES = {"henon": henon, "lorenz63": lorenz, "folded towel": folded_towel}


def gram_schmidt(xp: ModuleType) -> Callable[[Any], tuple[Any, Any]]:
    """Orthonormalise (d, k, batch) with arithmetic on whole batches, fast for tiny frames."""

    def orthonormalize(frame: Any) -> tuple[Any, Any]:
        columns, growth = [], []
        for index in range(frame.shape[1]):
            column = frame[:, index]
            for unit in columns:
                column = column - (unit * column).sum(0) * unit
            length = (column * column).sum(0) ** 0.5
            columns.append(column / length)
            growth.append(length)
        return xp.stack(columns, 1), xp.log(xp.stack(growth))

    return orthonormalize


def qr(xp: ModuleType) -> Callable[[Any], tuple[Any, Any]]:
    """Orthonormalise (d, k, …) by the library's QR."""

    def orthonormalize(frame: Any) -> tuple[Any, Any]:
        if frame.ndim == 2:
            basis, upper = xp.linalg.qr(frame)
            return basis, xp.log(abs(xp.diagonal(upper)))
        first = (2, 0, 1)
        rows = frame.transpose(first) if xp is np else frame.permute(first)
        basis, upper = xp.linalg.qr(rows)
        back = (1, 2, 0)
        basis = basis.transpose(back) if xp is np else basis.permute(back)
        return basis, xp.log(abs(xp.einsum("bii->ib", upper)))

    return orthonormalize


def device(torch: ModuleType) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def cholesky_qr(torch: ModuleType) -> Callable[[Any], tuple[Any, Any]]:
    """Two passes of Cholesky QR on a tall frame (n, k)."""

    def orthonormalize(frame: Any) -> tuple[Any, Any]:
        growth = 0
        for _ in range(2):
            lower = torch.linalg.cholesky(frame.T @ frame)
            frame = torch.linalg.solve_triangular(lower, frame.T, upper=False).T
            growth = growth + torch.log(torch.diagonal(lower))
        return frame, growth

    return orthonormalize


def loop(push: Push, orthonormalize: Callable, state: Any, frame: Any, steps: int) -> Any:
    """Mean growth per step, (k, …)."""
    total = 0
    for _ in range(steps):
        state, frame = push(state, frame)
        frame, growth = orthonormalize(frame)
        total = total + growth
    return total / steps


def solve_lorenz(state: np.ndarray, frame: np.ndarray, duration: float) -> float:
    """Largest exponent of Lorenz's system from SciPy's adaptive integrator, QR twice a unit."""
    size = 3 * (1 + frame.shape[1])

    def field(_: float, flat: np.ndarray) -> np.ndarray:
        x, y, z = flat[:3]
        u, v, w = flat[3:].reshape(3, -1)
        slope = np.empty(size)
        slope[:3] = SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z
        slope[3:] = np.concatenate(
            [SIGMA * (v - u), (RHO - z) * u - v - x * w, y * u + x * v - BETA * w]
        )
        return slope

    total, pieces = 0.0, max(round(2 * duration), 1)
    for _ in range(pieces):
        start = np.concatenate([state, frame.ravel()])
        end = solve_ivp(field, (0, duration / pieces), start, method="DOP853", rtol=1e-6).y[:, -1]
        state, (frame, upper) = end[:3], np.linalg.qr(end[3:].reshape(3, -1))
        total += math.log(abs(upper[0, 0]))
    return total / duration


def torch_chain(torch: ModuleType, chain: Any, frame: Any) -> np.ndarray:
    """All exponents, per step, of a chain of Jacobians by a sequential QR loop."""
    total = torch.zeros(len(frame), dtype=chain.dtype, device=chain.device)
    for jacobian in chain:
        frame, upper = torch.linalg.qr(jacobian @ frame)
        total += torch.log(torch.diagonal(upper).abs())
    return (total / len(chain)).cpu().numpy()


def floss_in_torch(
    torch: ModuleType, coupling: Any, state: Any, frame: Any, steps: int
) -> tuple[Any, Any]:
    """Make Σ λ² of x' = J tanh(x) and its gradient in J by autograd through `torch.linalg.qr`."""

    def loss(matrix: Any) -> Any:
        x, basis, total = state, frame, 0
        for _ in range(steps):
            basis = matrix @ (basis / torch.cosh(x)[:, None] ** 2)
            x = matrix @ torch.tanh(x)
            basis, upper = torch.linalg.qr(basis)
            total = total + torch.log(torch.diagonal(upper).abs())
        return ((total / steps) ** 2).sum()

    def forward() -> float:
        with torch.no_grad():
            return loss(coupling).item()

    def gradient() -> np.ndarray:
        matrix = coupling.clone().requires_grad_()
        loss(matrix).backward()
        return matrix.grad.cpu().numpy()

    return forward, gradient


def network_in_torch(torch: ModuleType, coupling: Any, dt: float | None) -> Push:
    """Push x' = J tanh(x) (no dt), or a Runge–Kutta step of ẋ = -x + J tanh(x)."""

    def both(x: Any, frame: Any) -> tuple[Any, Any]:
        return coupling @ torch.tanh(x), coupling @ (frame / torch.cosh(x)[:, None] ** 2)

    def field(x: Any, frame: Any) -> tuple[Any, Any]:
        driven, pushed = both(x, frame)
        return driven - x, pushed - frame

    return both if dt is None else runge_kutta(field, dt)


def lorenz96_in_torch(torch: ModuleType, dt: float) -> Push:
    """Push a Runge–Kutta step of Lorenz's ring model, tangents in columns (n, k)."""

    def roll(x: Any, by: int) -> Any:
        return torch.roll(x, by, 0)

    def field(x: Any, frame: Any) -> tuple[Any, Any]:
        ahead, behind = roll(x, -1) - roll(x, 2), roll(x, 1)
        moved = roll(frame, -1) - roll(frame, 2)
        pushed = moved * behind[:, None] + ahead[:, None] * roll(frame, 1) - frame
        return ahead * behind - x + 8, pushed

    return runge_kutta(field, dt)
