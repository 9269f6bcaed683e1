"""Errata: instructions that Unicorn gets wrong, found where they are translated and done right.

finder          find, find_in_block, find_exchanges: where code may hold one
boundaries      instructions, Extent: where the instructions of 64-bit code begin
repair          Repairs, Repair: what the instruction at RIP really does
cpu             Cpu, Registers: what is needed of a CPU
instruction     Instruction, Operands: one of 64-bit code, taken apart
x87             X87, INSTRUCTIONS: remainders and elementary functions of the FPU
floatx80        Floatx80, round_off: its numbers
functions       elementary functions in integer arithmetic
division        survive: IDIV of the least number by -1, on x86-64 hosts
vectors         add_neighbours, compare_strings: PHADDx, PHSUBx and PCMPxSTRx
"""
