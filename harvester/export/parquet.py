"""A table as Parquet, for programs that read much: sole importer of pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO
from zoneinfo import ZoneInfo

import pyarrow as pa
from pyarrow import parquet

from harvester.export.columns import CellKind, Column
from harvester.export.forms import Write, text_of

_ROWS_AT_ONCE = 5000
_TYPES = {CellKind.INTEGER: pa.int64(), CellKind.NUMBER: pa.float64(), CellKind.TRUTH: pa.bool_()}
_TEXTS = (CellKind.TEXT, CellKind.MIXED)


@contextmanager
def parquet_table(file: BinaryIO, columns: Sequence[Column], zone: ZoneInfo) -> Iterator[Write]:
    """Columns with types; where one holds several, it is text. Moments know their time zone."""
    types = _TYPES | {CellKind.MOMENT: pa.timestamp("ms", zone.key)}
    schema = pa.schema(
        [pa.field(column.heading, types.get(column.kind, pa.string())) for column in columns],
        {"created by": "harvester export"},
    )
    are_texts = [column.kind in _TEXTS for column in columns]
    rows: list[Sequence[object]] = []

    def write(cells: Sequence[object]) -> None:
        rows.append(cells)
        if len(rows) == _ROWS_AT_ONCE:
            put()

    def put() -> None:
        values = zip(*rows, strict=True) if rows else ((),) * len(columns)
        arrays = [
            pa.array(map(text_of, cells) if is_text else cells, field.type)
            for cells, is_text, field in zip(values, are_texts, schema, strict=True)
        ]
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        rows.clear()

    with parquet.ParquetWriter(file, schema) as writer:
        yield write
        put()
