"""The method as its authors built it, by the name ``dcama``.

The teacher is DCAMA (Shi et al. 2022, "Dense Cross-Query-and-Support Attention Weighted Mask Aggregation for Few-Shot
Segmentation"), the student ConvDist of DistillFSS (arXiv 2512.05613). Given their weights, both reproduce the authors'
numbers. What the default model does otherwise stands in ``distillfss.models``; this one stays as it was published.

Everything works on a backbone's raw pyramid: no standardisation, no normalisation of tokens.
"""

from distillfss.models.dcama.mixer import DcamaMixer
from distillfss.models.dcama.student import DcamaStudent
from distillfss.models.dcama.teacher import DcamaSupport, DcamaTeacher

__all__ = ["DcamaMixer", "DcamaStudent", "DcamaSupport", "DcamaTeacher"]
