"""The arbiter: which replica rules, decided by a compare-and-set on the generation.

causes      Cause: why generations begin
rule        claim, renew, fence, Register, Record, Arbiter: the decisions, pure, over a register
            that offers a few operations
directory   DirectoryArbiter, Reign: the register in a shared directory
"""

from vlockstep.arbiter.causes import Cause, cause_text
from vlockstep.arbiter.directory import DirectoryArbiter, Reign
from vlockstep.arbiter.rule import Arbiter, ArbiterError, Record, Register, claim

__all__ = [
    "Arbiter",
    "ArbiterError",
    "Cause",
    "DirectoryArbiter",
    "Record",
    "Register",
    "Reign",
    "cause_text",
    "claim",
]
