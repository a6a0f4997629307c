"""The doctor: checks the books against themselves, and against the log, while the service runs."""

from __future__ import annotations

from streams.doctor.checks import Options, examination, examine
from streams.doctor.report import Examined, Finding, Report

__all__ = ["Examined", "Finding", "Options", "Report", "examination", "examine"]
