# SPDX-License-Identifier: GPL-2.0-or-later
# A guest for the tests of the reservation: says what its device tree and its performance monitor
# registers say, then does what it is told on its console, a letter at a time:
#   c  executes a fixed number of instructions and says what PMC0 counted
#   r  resets the machine
#   p  powers it off
# Raw image, loaded and entered at 0 with r3 = device tree (ePAPR 1.1, section 5.4).

        .equ    UART, 0x4500            # in the CCSR window at EA 0xe0000000
        .equ    RSTCR, 0xe00b0
        .equ    GPIO, 0xff000
        .equ    COUNTED, 100000         # instructions of 'c', see there

        .globl  _start
_start: mr      30, 3
        # CCSR, 1 MiB at physical 0xf_e0000000, at EA 0xe0000000: TLB1 entry 2 (MAS0-3, MAS7)
        lis     4, 0x1002
        mtspr   624, 4
        lis     4, 0x8000
        ori     4, 4, 0x0500            # V, 1 MiB
        mtspr   625, 4
        lis     4, 0xe000
        ori     4, 4, 0x000a            # I, G
        mtspr   626, 4
        lis     4, 0xe000
        ori     4, 4, 0x003f            # all access
        mtspr   627, 4
        li      4, 0xf
        mtspr   944, 4
        isync
        tlbwe
        isync
        lis     31, 0xe000

        # "boot pm=1 " where the device tree has the property anywhere, else "boot pm=0 "
        lis     3, boot@ha
        addi    3, 3, boot@l
        bl      print
        lwz     5, 4(30)                # totalsize
        lis     6, property@ha
        addi    6, 6, property@l
        add     5, 30, 5
        addi    5, 5, -15
        mr      7, 30
        li      3, '0'
search: cmplw   7, 5
        bgt     found
        li      8, 0
match:  lbzx    9, 6, 8
        lbzx    10, 7, 8
        cmplw   9, 10
        bne     next
        addi    8, 8, 1
        cmpwi   9, 0
        bne     match
        li      3, '1'
        b       found
next:   addi    7, 7, 1
        b       search
found:  bl      putc

        # " pmlca0=XXXXXXXX": what is read back after 2 << 16 was written
        lis     3, pmlca@ha
        addi    3, 3, pmlca@l
        bl      print
        lis     4, 2
        mtpmr   144, 4
        mfpmr   3, 144
        bl      hex
        bl      newline

command:
        bl      getc
        cmpwi   3, 'c'
        beq     count
        cmpwi   3, 'r'
        beq     reset
        cmpwi   3, 'p'
        bne     command
        li      4, 0
        ori     4, 4, 0x8000
        slwi    4, 4, 16                # pin 0: the most significant bit
        lis     5, GPIO@ha
        addi    5, 5, GPIO@l
        add     5, 5, 31
        stw     4, 0(5)                 # direction: output
        li      6, 0
        stw     6, 8(5)
        stw     4, 8(5)                 # data: 0, then 1
        b       command
reset:  lis     5, RSTCR@ha
        addi    5, 5, RSTCR@l
        add     5, 5, 31
        li      4, 2
        stw     4, 0(5)
        b       .

        # Between mtpmr PMC0 and mfpmr lie li/lis/ori/mtctr and two instructions a round; the
        # mfpmr reads what is complete before it: 4 + 2 * rounds = COUNTED.
count:  li      4, 0
        mtpmr   400, 4
        lis     4, 2
        mtpmr   144, 4                  # event 2, completed instructions
        li      4, 0
        mtpmr   16, 4
        lis     5, ((COUNTED - 4) / 2) >> 16
        ori     5, 5, ((COUNTED - 4) / 2) & 0xffff
        mtctr   5
        nop
1:      addi    6, 6, 1
        bdnz    1b
        mfpmr   3, 16
        bl      hex
        bl      newline
        b       command

# Uses r3-r4, r11-r12 and, to return from print and hex, r28-r29.
putc:   lbz     4, UART + 5(31)
        andi.   4, 4, 0x20
        beq     putc
        stb     3, UART(31)
        blr
getc:   lbz     4, UART + 5(31)
        andi.   4, 4, 1
        beq     getc
        lbz     3, UART(31)
        blr
print:  mflr    29
        mr      28, 3
1:      lbz     3, 0(28)
        cmpwi   3, 0
        beq     2f
        bl      putc
        addi    28, 28, 1
        b       1b
2:      mtlr    29
        blr
newline:
        li      3, '\n'
        b       putc
hex:    mflr    29
        mr      28, 3
        li      27, 8
1:      rlwinm  28, 28, 4, 0, 31
        andi.   3, 28, 15
        cmpwi   3, 10
        addi    3, 3, '0'
        blt     2f
        addi    3, 3, 'a' - '0' - 10
2:      bl      putc
        addi    27, 27, -1
        cmpwi   27, 0
        bne     1b
        mtlr    29
        blr

boot:   .asciz  "boot pm="
pmlca:  .asciz  " pmlca0="
property:
        .asciz  "power-isa-e.pm"
