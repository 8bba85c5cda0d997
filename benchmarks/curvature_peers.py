"""Hessian products, Lanczos iterations and spectral densities in PyTorch, as its packages do them.

A `problem` is a `curvature.Problem`: weights and data are the same everywhere. PyHessian 0.1 calls
`torch.eig`, which PyTorch removed; it is put back while PyHessian runs.
"""

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from interleaved import best_threads

__all__ = ["Runs", "densities_there", "lanczos_there", "products_there"]

Runs = dict[str, Callable[[], object]]


def products_there(torch: ModuleType, problem: Any) -> Runs:
    """A gradient and a product by autograd; also settles PyTorch's number of threads."""
    model, (images, labels) = _model(torch, problem), _data(torch, problem)
    parts = list(model.parameters())
    directions = [torch.ones_like(part) / problem.size**0.5 for part in parts]

    def gradient(*, create_graph: bool = False) -> Any:
        value = torch.nn.functional.cross_entropy(model(images), labels)
        return torch.autograd.grad(value, parts, create_graph=create_graph)

    def product() -> Any:
        return torch.autograd.grad(gradient(create_graph=True), parts, directions)

    best_threads(torch, product)
    return {"PyTorch gradient": gradient, "PyTorch product": product}


def lanczos_there(
    modules: dict[str, ModuleType], problem: Any, start: np.ndarray, steps: int
) -> tuple[Runs, dict[str, np.ndarray]]:
    """Lanczos iterations by every package at hand, and the eigenvalues that each finds."""
    torch = modules["torch"]
    products_there(torch, problem)
    runs: Runs = {}
    values = {}
    if "hessian_eigenthings" in modules:
        package = modules["hessian_eigenthings"]
        operator, first = _operator(package, torch, problem), torch.tensor(start)

        def eigenthings() -> Any:
            return package.lanczos_tridiagonal(operator, first, steps, reorthogonalize=True)

        found = eigenthings()
        beside = np.diag(found.betas.numpy()[: steps - 1].astype(float), 1)
        matrix = np.diag(found.alphas.numpy().astype(float)) + beside + beside.T
        values["hessian-eigenthings"] = np.linalg.eigvalsh(matrix)
        runs["hessian-eigenthings"] = eigenthings
    if "pyhessian" in modules:
        pyhessian = _density(modules, problem, 1, steps)
        values["PyHessian"] = np.array(pyhessian()[0][0], float)
        runs["PyHessian"] = pyhessian
    return runs, values


def densities_there(
    modules: dict[str, ModuleType], problem: Any, draws: int, steps: int
) -> tuple[Runs, dict[str, float]]:
    """Spectral densities by every package at hand, and the mean squared eigenvalue of each."""
    torch = modules["torch"]
    products_there(torch, problem)
    runs: Runs = {}
    moments = {}
    if "pyhessian" in modules:
        pyhessian = _density(modules, problem, draws, steps)
        nodes, weights = (np.array(part, float) for part in pyhessian())
        moments["PyHessian"] = float(np.mean(np.sum(weights * nodes**2, axis=1)))
        runs["PyHessian"] = pyhessian
    if "hessian_eigenthings" in modules:
        package = modules["hessian_eigenthings"]
        operator = _operator(package, torch, problem)

        def eigenthings() -> Any:
            return package.spectral_density(operator, num_runs=draws, lanczos_steps=steps, seed=0)

        found = eigenthings()
        values, shares = found.raw_eigenvalues.numpy(), found.raw_weights.numpy()
        moments["hessian-eigenthings"] = float(np.mean(np.sum(shares * values**2, axis=1)))
        runs["hessian-eigenthings"] = eigenthings
    return runs, moments


def _model(torch: ModuleType, problem: Any) -> Any:
    layers: list[Any] = []
    for layer in problem.params:
        linear = torch.nn.Linear(*layer["kernel"].shape)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(layer["kernel"].T.copy()))
            linear.bias.copy_(torch.tensor(layer["bias"]))
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def _data(torch: ModuleType, problem: Any) -> tuple[Any, Any]:
    images, labels = problem.data
    return torch.tensor(images), torch.tensor(labels, dtype=torch.long)


def _operator(package: ModuleType, torch: ModuleType, problem: Any) -> Any:
    """The Hessian for hessian-eigenthings."""
    criterion = package.supervised_loss(torch.nn.functional.cross_entropy)
    return package.HessianOperator(_model(torch, problem), [_data(torch, problem)], criterion)


def _density(
    modules: dict[str, ModuleType], problem: Any, draws: int, steps: int
) -> Callable[[], tuple[list, list]]:
    """PyHessian's eigenvalues and weights, of every draw: the only way to its Lanczos iteration."""
    torch = modules["torch"]
    computer = modules["pyhessian"].hessian(
        _model(torch, problem),
        torch.nn.functional.cross_entropy,
        data=_data(torch, problem),
        cuda=False,
    )

    def density() -> tuple[list, list]:
        with _restored_eig(torch):
            return computer.density(iter=steps, n_v=draws)

    return density


@contextlib.contextmanager
def _restored_eig(torch: ModuleType) -> Iterator[None]:
    """Give PyTorch the function that PyHessian calls."""

    def eig(matrix: Any, *, eigenvectors: bool) -> tuple[Any, Any]:
        del eigenvectors
        values, vectors = torch.linalg.eigh(matrix)
        return torch.stack([values, torch.zeros_like(values)], dim=1), vectors

    before = torch.eig
    torch.eig = eig
    try:
        yield
    finally:
        torch.eig = before
