"""The main job: is the objective's landscape smooth here, or fractal?

Three measurements meet. How fast the closed loop forgets (Lyapunov exponent λ, nats per
step), how rough the objective is (Hölder exponent α), and where single jumps sit. Theory
joins the first two: a difference of size δ grows like δ e^{λt} while rewards are
discounted by γ^t, so that α = -ln γ / λ where λ > -ln γ.
"""

from fracjax.diagnosis.findings import Chaos as Chaos
from fracjax.diagnosis.findings import Diagnosis as Diagnosis
from fracjax.diagnosis.findings import DiscountDiagnosis as DiscountDiagnosis
from fracjax.diagnosis.findings import Prediction as Prediction
from fracjax.diagnosis.findings import Problem as Problem
from fracjax.diagnosis.findings import Settings as Settings
from fracjax.diagnosis.findings import Slices as Slices
from fracjax.diagnosis.findings import Verdict as Verdict
from fracjax.diagnosis.maps import fractality as fractality
from fracjax.diagnosis.policies import problem_of_policy as problem_of_policy
from fracjax.diagnosis.run import diagnose as diagnose
from fracjax.diagnosis.summary import summary as summary
from fracjax.diagnosis.verdict import judge as judge
from fracjax.diagnosis.verdict import predict as predict

__all__ = [
    "Chaos",
    "Diagnosis",
    "DiscountDiagnosis",
    "Prediction",
    "Problem",
    "Settings",
    "Slices",
    "Verdict",
    "diagnose",
    "fractality",
    "judge",
    "predict",
    "problem_of_policy",
    "summary",
]
