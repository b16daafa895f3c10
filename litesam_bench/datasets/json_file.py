"""Reading large JSON files that others wrote."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litesam_bench.errors import DataError


def read_json(path: Path) -> Any:
    """Parse a JSON file. NaN and Infinity are accepted here; readers reject them where they matter.

    Raises:
        DataError: the file is missing, is a folder, or is not JSON (with the position).
    """
    try:
        with path.open("rb") as file, _collector_off():
            return json.load(file)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", fix="litesam-bench data where") from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not valid JSON: {error}", fix="download the file again"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", fix="name a file") from None


@contextmanager
def _collector_off() -> Iterator[None]:
    """Parsing makes millions of containers and no cycles; collecting between them costs time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
