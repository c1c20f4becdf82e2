"""Findings and reports: what celldock tells a submitter about a file."""

from celldock.report.model import FileFacts, Finding, MadeBy, Report, Severity, Summary
from celldock.report.text import render_text

__all__ = ["FileFacts", "Finding", "MadeBy", "Report", "Severity", "Summary", "render_text"]
