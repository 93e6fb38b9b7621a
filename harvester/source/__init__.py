"""Inputs become note ids: files, standard input or any iterable, validated, in pages."""

from harvester.source.carry import Carry, parse_carry
from harvester.source.ids import IdRule, NoNoteError
from harvester.source.pages import PAGE_SIZE, check, iterable_pages, read_pages
from harvester.source.streams import spool

__all__ = [
    "PAGE_SIZE",
    "Carry",
    "IdRule",
    "NoNoteError",
    "check",
    "iterable_pages",
    "parse_carry",
    "read_pages",
    "spool",
]
