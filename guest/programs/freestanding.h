// SPDX-License-Identifier: GPL-2.0-or-later
// What the test programs need to do without a C library: start, end, write, read a number. A static
// glibc would put 650 KB for each of them into the file system that every boot has to unpack.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { kSysExit = 1, kSysWrite = 4, kSysGetppid = 64, kStdout = 1, kStderr = 2 };

int program(int argc, char** argv);

/// The system call of the powerpc ABI; errors are not told from results.
static inline long system_call(long number, long a, long b, long c) {
    register long r0 __asm__("r0") = number;
    register long r3 __asm__("r3") = a;
    register long r4 __asm__("r4") = b;
    register long r5 __asm__("r5") = c;
    __asm__ volatile("sc"
                     : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5)
                     :
                     : "r6", "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");
    return r3;
}

static inline void print(int fd, const char* text) {
    size_t length = 0;
    while (text[length] != '\0') {
        ++length;
    }
    system_call(kSysWrite, fd, (long)text, (long)length);
}

static inline void print_hexadecimal(uint32_t value) {
    char text[] = "00000000\n";
    for (int i = 7; i >= 0; --i, value >>= 4) {
        text[i] = "0123456789abcdef"[value & 15];
    }
    print(kStdout, text);
}

/// The one optional argument, a decimal number. Ends the program with status 1 and says `usage` on
/// anything else.
static inline uint32_t number_argument(int argc, char** argv, uint32_t otherwise,
                                       const char* usage) {
    if (argc == 1) {
        return otherwise;
    }
    uint32_t number = 0;
    const char* digit = argc == 2 ? argv[1] : "";
    do {
        if (*digit < '0' || *digit > '9') {
            print(kStderr, usage);
            system_call(kSysExit, 1, 0, 0);
        }
        number = number * 10 + (uint32_t)(*digit - '0');
    } while (*++digit != '\0');
    return number;
}

// The kernel starts a program with the stack pointer at argc, argv[0], argv[1] …
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "    lwz 3, 0(1)\n"
    "    addi 4, 1, 4\n"
    "    li 0, 0\n"
    "    stwu 0, -16(1)\n"
    "    bl start\n"
    ".size _start, . - _start\n");

__attribute__((used)) static void start(int argc, char** argv) {
    system_call(kSysExit, program(argc, argv), 0, 0);
}
