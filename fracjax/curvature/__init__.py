"""Gradients, Hessian-vector products and eigenvectors, by whichever derivative exists.

Everything here is a derivative at a point. Where an objective is rough down to rounding, as
returns of chaotic closed loops are, such numbers are computed without complaint and mean
nothing: they describe steps far smaller than any that can be taken. Measure the roughness
first (`fracjax.estimators.holder_exponent`); with an exponent below 2 there is no Hessian to
speak of, below 1 no gradient.
"""

from fracjax.curvature.eigenvectors import Eigenpairs as Eigenpairs
from fracjax.curvature.eigenvectors import Which as Which
from fracjax.curvature.eigenvectors import top_hessian_eigenvectors as top_hessian_eigenvectors
from fracjax.curvature.gradients import Gradient as Gradient
from fracjax.curvature.gradients import GradientMethod as GradientMethod
from fracjax.curvature.gradients import gradient as gradient
from fracjax.curvature.hessian_products import HessianMethod as HessianMethod
from fracjax.curvature.hessian_products import HessianVectorProduct as HessianVectorProduct
from fracjax.curvature.hessian_products import hessian_vector_product as hessian_vector_product
from fracjax.curvature.lanczos import Tridiagonal as Tridiagonal
from fracjax.curvature.lanczos import lanczos as lanczos

__all__ = [
    "Eigenpairs",
    "Gradient",
    "GradientMethod",
    "HessianMethod",
    "HessianVectorProduct",
    "Tridiagonal",
    "Which",
    "gradient",
    "hessian_vector_product",
    "lanczos",
    "top_hessian_eigenvectors",
]
