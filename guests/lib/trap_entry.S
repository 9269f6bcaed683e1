/* The way into trap_dispatch and back. Each of the 256 gates leads to a stub of 16 bytes, which
 * pushes an error code of 0 where the processor pushes none, and the vector. */
    .file "trap_entry.S"
    .text

    .globl trap_stubs
    .type trap_stubs, @object
    .balign 16
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || \
        (vector == 29) || (vector == 30)
    .else
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr
    .balign 16
    .size trap_stubs, . - trap_stubs

/* The processor aligned RSP to 16 before it pushed 5 words; with error code, vector and 15
 * registers that is 22 words, so RSP is aligned again for FXSAVE64 and the call. */
    .type trap_common, @function
trap_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $512, %rsp
    fxsave64 (%rsp)
    cld
    xorl %ebp, %ebp
    movq %rsp, %rdi
    call trap_dispatch
    movq %rax, %rsp
    fxrstor64 (%rsp)
    addq $512, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq
    .size trap_common, . - trap_common

    .section .note.GNU-stack, "", @progbits
