"""The report of a reproduction, from evidence alone: Markdown, HTML and figures."""

from benchmark.reproduction.report.writing import write

__all__ = ["write"]
