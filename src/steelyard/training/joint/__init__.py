"""Joint models: students that learn how to weigh the votes while they learn to answer, instead of taking ready targets from a label model.

All have `fit(data, votes, y=None)` and `predict_proba(data)`; most also `predict_proba(data, votes)`, which looks at the votes of the row.
"""

from steelyard.training.joint.astra import ASTRA
from steelyard.training.joint.base import JointStudent
from steelyard.training.joint.cosine import COSINE
from steelyard.training.joint.denoising_attention import DenoisingAttention
from steelyard.training.joint.imply_loss import ImplyLoss
from steelyard.training.joint.weasel import WeaSEL

__all__ = ["ASTRA", "COSINE", "DenoisingAttention", "ImplyLoss", "JointStudent", "WeaSEL"]
