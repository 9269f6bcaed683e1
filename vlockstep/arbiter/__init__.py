"""The arbiter: which replica rules, decided by a compare-and-set on the generation.

causes      ReignCause: why generations begin
rule        claim, renew, fence, Register, Record, Arbiter: the decisions, pure, over a register
            that offers a few operations
directory   DirectoryArbiter, Reign: the register in a shared directory
"""

from vlockstep.arbiter.causes import ReignCause, cause_text
from vlockstep.arbiter.directory import DirectoryArbiter, Reign
from vlockstep.arbiter.rule import Arbiter, ArbiterError, Record, Register, claim

__all__ = [
    "Arbiter",
    "ArbiterError",
    "DirectoryArbiter",
    "Record",
    "Register",
    "Reign",
    "ReignCause",
    "cause_text",
    "claim",
]
