"""The checks of shapes and types that run in tests: beartype, for which an `int` is a `float`, as for type checkers."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
