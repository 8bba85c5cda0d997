"""Which LAPACK calls of a compiled program may run at once, read from XLA's own listing of it."""

import itertools
import re

import jax

_COMPUTATION = re.compile(r"^(?:ENTRY )?%(\S+) .*\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation|branch_computations"
    r"|called_computations)=(?:\{([^}]*)\}|(%[^\s,]+))"
)
_LIBRARY = re.compile(r'custom_call_target="(?:lapack|blas)_')


def unordered(function, *arguments):
    """Find pairs of LAPACK calls of which neither needs what the other computes.

    From the program after all of XLA's passes, as the barriers that XLA takes away order nothing.
    A loop or a call that holds LAPACK calls counts as one where it stands.

    Returns:
        The pairs, by XLA's names, and the number of LAPACK calls.
    """
    listing = jax.jit(function).lower(*arguments).compile().as_text()
    bodies = _computations(listing)
    pairs = []
    for lines in bodies.values():
        needed = {}
        for name, line in lines.items():  # operands stand before what uses them
            direct = [
                operand for operand in re.findall(r"%([^\s,(){}]+)", line) if operand in lines
            ]
            needed[name] = set(direct).union(*(needed.get(operand, ()) for operand in direct))
        heavy = [name for name, line in lines.items() if _factors(line, bodies)]
        pairs += [
            (first, second)
            for first, second in itertools.combinations(heavy, 2)
            if first not in needed[second] and second not in needed[first]
        ]
    return pairs, len(_LIBRARY.findall(listing))


def _computations(listing):
    """Lines of every computation by the name of what they compute."""
    bodies, lines = {}, {}
    for line in listing.splitlines():
        if opened := _COMPUTATION.match(line):
            lines = bodies[opened[1]] = {}
        elif " = " in line and line.startswith(" "):
            name, rest = line.strip().removeprefix("ROOT ").split(" = ", 1)
            lines[name.removeprefix("%")] = rest.split(", metadata=", 1)[0]
    return bodies


def _factors(line, bodies):
    if _LIBRARY.search(line):
        return True
    names = re.findall(r"%([^\s,]+)", " ".join(map("".join, _CALLED.findall(line))))
    return any(_factors(inner, bodies) for name in names for inner in bodies[name].values())
