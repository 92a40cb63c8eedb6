"""Admission: what may enter the cluster, and in what shape. `chain.py` has the order; one plugin per file beside it."""

from apiserver.admission.chain import Attributes

__all__ = ["Attributes"]
