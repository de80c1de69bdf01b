/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A program to gate: 42 + EXTRA instructions; EXTRA is 3 or more. The gate's test runs it, too. */
        .text
        .globl  _start
_start:
        li      4, 10
        mtctr   4
1:      addi    5, 5, 1
        xor     6, 5, 4
        nop
        bdnz    1b
        .rept   EXTRA - 3
        nop
        .endr
        li      0, 1            /* exit(0) */
        li      3, 0
        sc
