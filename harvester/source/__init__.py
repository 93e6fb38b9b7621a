"""Inputs become note ids: files, standard input or any iterable, validated, in pages."""
