"""What is wrong with a folder of annotated images: all faults in one report, and a repaired copy of the folder."""

from distillfss.checking.checking import check
from distillfss.checking.findings import KINDS, Finding, Kind
from distillfss.checking.report import Report

__all__ = ["KINDS", "Finding", "Kind", "Report", "check"]
