"""Reading a pickled pandas table without pandas and without running what a pickle asks for.

A pickle is a program: whoever unpickles a downloaded file runs it. Only the few names a table of arrays needs are known
here, each to a harmless stand-in; everything else is refused by name. The structure is the same from pandas 1.5 to 3.1:
``DataFrame`` with the state ``{"_mgr": BlockManager((block, ...), [columns, rows])}``, a block being values
(columns of the block, rows) with their places among the columns.
"""

from __future__ import annotations

import builtins
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError

Column = NDArray[Any]


class _Table:
    """Stands in for ``DataFrame``; unpickling sets its state."""

    _mgr: _Blocks


class _Blocks:
    """Stands in for ``BlockManager``."""

    def __init__(self, blocks: tuple[tuple[Column, Any], ...], axes: list[Column]) -> None:
        self.blocks, self.axes = blocks, axes


def _block(values: Column, placement: Any, ndim: int = 2) -> tuple[Column, Any]:
    return values, placement


def _index(kind: Any, state: dict[str, Any]) -> Column:
    if "data" in state:
        return np.asarray(state["data"], dtype=object)
    return np.arange(state["start"], state["stop"], state["step"])


def _places(place: Any) -> Any:
    return place


class _Kind:
    """Stands in for the classes of indices, which are only named."""


def _numpy(name: str) -> Any:
    from numpy._core import multiarray, numeric  # where pickles of NumPy 1 and 2 look, under two names

    return getattr(numeric if name == "_frombuffer" else multiarray, name)


_INDEX_KINDS = ("Index", "RangeIndex", "Int64Index", "UInt64Index", "Float64Index", "NumericIndex")
_STAND_INS: dict[tuple[str, str], Any] = {
    ("DataFrame", "pandas"): _Table,
    ("BlockManager", "pandas"): _Blocks,
    ("_unpickle_block", "pandas"): _block,
    ("_new_Index", "pandas"): _index,
    ("BlockPlacement", "pandas"): _places,
    ("ndarray", "numpy"): np.ndarray,
    ("dtype", "numpy"): np.dtype,
    ("slice", "builtins"): builtins.slice,
    **{(kind, "pandas"): _Kind for kind in _INDEX_KINDS},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        package = module_name.split(".")[0]
        if (global_name, package) in _STAND_INS:
            return _STAND_INS[global_name, package]
        if package == "numpy" and global_name in ("_reconstruct", "scalar", "_frombuffer"):
            return _numpy(global_name)
        raise _Refused(f"{module_name}.{global_name}")


class _Refused(Exception):  # noqa: N818  (never leaves this module)
    """A name that the pickle asks for and does not get."""


def read_frame(path: Path, columns: tuple[str, ...]) -> dict[str, Column]:
    """Columns of a pickled ``pandas.DataFrame``, each (rows,), usually of objects.

    Raises
    ------
    DataError
        The file is no such table, asks for anything that is not needed for one, or lacks a column.
    """
    try:
        with path.open("rb") as file:
            table = _Unpickler(file).load()
        found = _columns(table)
    except _Refused as refused:
        raise DataError(
            f"asks for {refused}, which a table of arrays does not need, so it is not opened",
            cure="Download it again from its official page",
            path=path,
        ) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", cure="Allow reading it", path=path) from None
    except MemoryError:
        raise DataError(
            "does not fit into memory",
            cure="Prepare it on a machine with more memory than the file is large",
            path=path,
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"is no pickled table ({reason[:120]})", cure="Download it again from its official page", path=path
        ) from None
    absent = [name for name in columns if name not in found]
    if absent:
        raise DataError(
            f"has no column {absent[0]}, only {', '.join(found)}",
            cure=f"Expected are {', '.join(columns)}: download it again from its official page",
            path=path,
        )
    return {name: found[name] for name in columns}


def _columns(table: Any) -> dict[str, Column]:
    if not isinstance(table, _Table):
        raise ValueError(f"it holds a {type(table).__name__}")
    names = [str(name) for name in table._mgr.axes[0]]
    found: dict[str, Column] = {}
    for values, placement in table._mgr.blocks:
        for name, column in zip(np.array(names, dtype=object)[placement], values, strict=True):
            found[str(name)] = column
    return {name: found[name] for name in names}
