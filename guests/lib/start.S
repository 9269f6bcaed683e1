/* Entry: RDI is the boot info's address, RSP the end of memory. */
    .file "start.S"
    .section .text.start, "ax", @progbits
    .globl _start
    .type _start, @function
_start:
    xorl %ebp, %ebp
    andq $-16, %rsp
    call runtime_start
    ud2
    .size _start, . - _start

    .section .note.GNU-stack, "", @progbits
