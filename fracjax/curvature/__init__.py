"""Curvature without matrices: gradients, products, eigenvectors, spectral densities, traces.

`hessian`, `gauss_newton` and `empirical_fisher` make operators of a loss, of all parameters or of
a block of them (`layer_masks`), on all data at once or in batches (`in_batches`). What is known
of them by products alone: `top_eigenpairs`, `spectral_density`, `trace`, `diagonal`, `sharpness`.
`gradient`, `hessian_vector_product` and `top_hessian_eigenvectors` take objectives of a key.

Everything here is a derivative at a point. Where an objective is rough down to rounding, as
returns of chaotic closed loops are, such numbers are computed without complaint and mean
nothing: they describe steps far smaller than any that can be taken. Measure the roughness
first (`fracjax.estimators.holder_exponent`); with an exponent below 2 there is no Hessian to
speak of, below 1 no gradient.
"""

from fracjax.curvature.batches import Batches as Batches
from fracjax.curvature.batches import in_batches as in_batches
from fracjax.curvature.batches import over_batches as over_batches
from fracjax.curvature.blocks import Mask as Mask
from fracjax.curvature.blocks import combine as combine
from fracjax.curvature.blocks import layer_masks as layer_masks
from fracjax.curvature.blocks import partition as partition
from fracjax.curvature.densities import Kernel as Kernel
from fracjax.curvature.densities import SpectralDensity as SpectralDensity
from fracjax.curvature.densities import smooth_quadrature as smooth_quadrature
from fracjax.curvature.densities import spectral_density as spectral_density
from fracjax.curvature.draws import Probe as Probe
from fracjax.curvature.eigenvectors import Eigenpairs as Eigenpairs
from fracjax.curvature.eigenvectors import Which as Which
from fracjax.curvature.eigenvectors import top_eigenpairs as top_eigenpairs
from fracjax.curvature.eigenvectors import top_hessian_eigenvectors as top_hessian_eigenvectors
from fracjax.curvature.gradients import Gradient as Gradient
from fracjax.curvature.gradients import GradientMethod as GradientMethod
from fracjax.curvature.gradients import gradient as gradient
from fracjax.curvature.hessian_products import HessianMethod as HessianMethod
from fracjax.curvature.hessian_products import HessianVectorProduct as HessianVectorProduct
from fracjax.curvature.hessian_products import hessian_vector_product as hessian_vector_product
from fracjax.curvature.lanczos import Tridiagonal as Tridiagonal
from fracjax.curvature.lanczos import lanczos as lanczos
from fracjax.curvature.operators import CurvatureOperator as CurvatureOperator
from fracjax.curvature.operators import empirical_fisher as empirical_fisher
from fracjax.curvature.operators import gauss_newton as gauss_newton
from fracjax.curvature.operators import hessian as hessian
from fracjax.curvature.operators import symmetric_operator as symmetric_operator
from fracjax.curvature.quadrature import Quadrature as Quadrature
from fracjax.curvature.quadrature import lanczos_quadrature as lanczos_quadrature
from fracjax.curvature.quadrature import spectral_mean as spectral_mean
from fracjax.curvature.sharpening import Descent as Descent
from fracjax.curvature.sharpening import Sharpness as Sharpness
from fracjax.curvature.sharpening import SharpnessState as SharpnessState
from fracjax.curvature.sharpening import SharpnessTracker as SharpnessTracker
from fracjax.curvature.sharpening import descent_sharpness as descent_sharpness
from fracjax.curvature.sharpening import sharpness as sharpness
from fracjax.curvature.sharpening import sharpness_along as sharpness_along
from fracjax.curvature.sharpening import sharpness_tracker as sharpness_tracker
from fracjax.curvature.traces import TraceMethod as TraceMethod
from fracjax.curvature.traces import diagonal as diagonal
from fracjax.curvature.traces import trace as trace

__all__ = [
    "Batches",
    "CurvatureOperator",
    "Descent",
    "Eigenpairs",
    "Gradient",
    "GradientMethod",
    "HessianMethod",
    "HessianVectorProduct",
    "Kernel",
    "Mask",
    "Probe",
    "Quadrature",
    "Sharpness",
    "SharpnessState",
    "SharpnessTracker",
    "SpectralDensity",
    "TraceMethod",
    "Tridiagonal",
    "Which",
    "combine",
    "descent_sharpness",
    "diagonal",
    "empirical_fisher",
    "gauss_newton",
    "gradient",
    "hessian",
    "hessian_vector_product",
    "in_batches",
    "lanczos",
    "lanczos_quadrature",
    "layer_masks",
    "over_batches",
    "partition",
    "sharpness",
    "sharpness_along",
    "sharpness_tracker",
    "smooth_quadrature",
    "spectral_density",
    "spectral_mean",
    "symmetric_operator",
    "top_eigenpairs",
    "top_hessian_eigenvectors",
    "trace",
]
