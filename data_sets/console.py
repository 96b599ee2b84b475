"""What the scripts of this folder print: any name, and no notes of a reader beside our own sentence."""

import logging
import sys


def prepare_console():
    """Write names that are no UTF-8 with backslashes instead of failing, and silence what tifffile logs."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
