"""The rules of the transport: what keeps the log, the state and the triggers one."""

from typing import Final

from tests.mutants.mutant import Mutant

TRANSPORT: Final[tuple[Mutant, ...]] = ()
