/* SPDX-License-Identifier: GPL-2.0-or-later */
/* spin N: goes N times (1 to 4294967295) round a loop of ten instructions.
 *
 * There is no C library and no start-up code in it, so that what it executes in user mode, from
 * exec to exit, is known to the instruction. For an N of d digits:
 *
 *   instructions    10 N + 8 d + 18, the `sc` of the exit included
 *   branches         2 N + 2 d +  4, that `sc` not included
 *   taken branches     N +   d
 *   loads              N +   d +  2
 *   stores             N       +  1
 *
 * Without N, or with something that is no number, it says how it is used: exit status 1.
 */
        .equ    SYS_exit, 1
        .equ    SYS_write, 4
        .equ    stderr, 2

        .text
        .globl  _start
        .type   _start, @function
_start:
        lwz     3, 8(1)                 /* the stack: argc, argv[0], argv[1] … */
        stwu    1, -32(1)
        li      4, 0                    /* N */
        cmpwi   3, 0
        beq     usage                   /* not taken */
digit:
        lbz     5, 0(3)
        addi    3, 3, 1
        addi    5, 5, -'0'
        cmplwi  5, 9
        bgt     end_of_digits           /* taken after the last digit only */
        mulli   4, 4, 10
        add     4, 4, 5
        b       digit
end_of_digits:
        cmpwi   5, -'0'                 /* was it the final zero byte? */
        bne     usage                   /* not taken */
        cmpwi   4, 0
        beq     usage                   /* not taken */
        mtctr   4

        .globl  spin_loop
        .type   spin_loop, @function
spin_loop:
        lwz     7, 8(1)
        addi    7, 7, 1
        stw     7, 8(1)
        xor     8, 7, 4
        rotlwi  8, 8, 3
        add     6, 6, 8
        cmplwi  4, 0
        beq     usage                   /* never taken */
        subf    9, 6, 8
        bdnz    spin_loop               /* taken but for the last time */
        .size   spin_loop, . - spin_loop

        li      0, SYS_exit
        li      3, 0
        sc
usage:
        li      0, SYS_write
        li      3, stderr
        lis     4, message@ha
        addi    4, 4, message@l
        li      5, message_end - message
        sc
        li      0, SYS_exit
        li      3, 1
        sc
        .size   _start, . - _start

        .section .rodata
message:
        .ascii  "usage: spin N\n"
message_end:
        .section .note.GNU-stack, "", @progbits
