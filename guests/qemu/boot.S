/* From PVH's entry point, 32-bit code without paging, to lib/start.S in long mode.
 *
 * EBX is the physical address of PVH's start information. Memory is mapped as it is, in pages of
 * 2 MiB: qemu.ld gives code and constants one of their own, which cannot be written; nothing else
 * can be executed. */
    .file "boot.S"

    .set START_COMMAND_LINE, 24 /* in the start information */
    .set START_MEMORY_MAP, 40
    .set BOOT_MEMORY_SIZE, 0    /* in lib/boot.h */
    .set BOOT_COMMAND_LINE, 24

    .set PRESENT, 1
    .set WRITABLE, 2
    .set LARGE, 0x80
    .set NO_EXECUTE, 1 << 63

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long pvh_start

    .section .text.pvh, "ax", @progbits
    .code32
    .globl pvh_start
    .type pvh_start, @function
pvh_start:
    lgdt gdt_pointer
    movl $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
    movl %eax, %cr4
    movl $level4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx /* EFER */
    xorl %edx, %edx
    movl $0x900, %eax /* LME, NXE */
    wrmsr
    movl $0x80010021, %eax /* PG, WP, NE, PE */
    movl %eax, %cr0
    ljmpl $8, $long_mode
    .size pvh_start, . - pvh_start

    .code64
    .type long_mode, @function
long_mode:
    movl %ebx, %ebx
    movq START_COMMAND_LINE(%rbx), %rax
    movq %rax, boot_info + BOOT_COMMAND_LINE
    movq START_MEMORY_MAP(%rbx), %rdx
1:  cmpq $0x100000, (%rdx) /* the entry of what lies behind the first MiB */
    je 2f
    addq $24, %rdx
    jmp 1b
2:  movq 8(%rdx), %rax
    addq (%rdx), %rax
    movq %rax, boot_info + BOOT_MEMORY_SIZE
    movl $16, %eax
    movl %eax, %ss
    movl $boot_info, %edi
    movl $stack_end, %esp
    jmp _start
    .size long_mode, . - long_mode

    .section .rodata.boot, "a", @progbits
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .section .data.boot, "aw", @progbits
    .balign 4096
level4:
    .quad level3 + PRESENT + WRITABLE
    .fill 511, 8, 0
level3:
    .quad level2 + PRESENT + WRITABLE, level2 + 4096 + PRESENT + WRITABLE
    .fill 510, 8, 0
level2: /* the first 2 GiB */
    .quad 0x000000 + PRESENT + WRITABLE + LARGE + NO_EXECUTE
    .quad 0x200000 + PRESENT + LARGE
    .set page, 2
    .rept 1022
    .quad (page << 21) + PRESENT + WRITABLE + LARGE + NO_EXECUTE
    .set page, page + 1
    .endr
boot_info: /* of a guest without devices; nobody tells how long a cycle is */
    .quad 0, image_end, 1000000000
    .fill 5, 8, 0

    .section .bss.boot, "aw", @nobits
    .balign 16
    .skip 65536
stack_end:

    .section .note.GNU-stack, "", @progbits
