"""Results on disk: self-contained HTML pages, numbers, figures."""

from fracjax.reports.diagnosis import Case as Case
from fracjax.reports.diagnosis import render_again as render_again
from fracjax.reports.diagnosis import render_page as render_page
from fracjax.reports.diagnosis import write_results as write_results
from fracjax.reports.files import OutputError as OutputError
from fracjax.reports.files import check_output as check_output
from fracjax.reports.files import write_files as write_files
from fracjax.reports.scan_numbers import ScanAnalysis as ScanAnalysis
from fracjax.reports.scan_numbers import analyse_scan as analyse_scan
from fracjax.reports.scan_numbers import describe_scan as describe_scan
from fracjax.reports.scans import ScanDescription as ScanDescription
from fracjax.reports.scans import render_scan as render_scan
from fracjax.reports.watching import write_watch as write_watch

__all__ = [
    "Case",
    "OutputError",
    "ScanAnalysis",
    "ScanDescription",
    "analyse_scan",
    "check_output",
    "describe_scan",
    "render_again",
    "render_page",
    "render_scan",
    "write_files",
    "write_results",
    "write_watch",
]
