// SPDX-License-Identifier: GPL-2.0-or-later
// Which registers instructions read and write.
#include "isa/register_use.h"

#include <gtest/gtest.h>

namespace perfvisor::isa {
namespace {

constexpr uint32_t r(unsigned n) {
    return 1u << n;
}

RegisterUse use_of(uint32_t word) {
    return register_use(describe(decode(word)), word);
}

TEST(RegisterUse, TheFirstOperandIsTheResult) {
    const RegisterUse add = use_of(0x7c642a14);  // add r3,r4,r5
    EXPECT_EQ(add.reads, r(4) | r(5));
    EXPECT_EQ(add.writes, r(3));
    EXPECT_EQ(add.fields_written, 0);
    EXPECT_EQ(use_of(0x7c642a15).fields_written, 1);  // add.
    const RegisterUse fmadd = use_of(0xfc2220fa);     // fmadd f1,f2,f3,f4
    EXPECT_EQ(fmadd.float_reads, r(2) | r(3) | r(4));
    EXPECT_EQ(fmadd.float_writes, r(1));
    EXPECT_EQ(fmadd.reads | fmadd.writes, 0u);
    EXPECT_EQ(use_of(0xfc2220fb).fields_written, 2);  // fmadd.
}

TEST(RegisterUse, AStoreReadsItsFirstOperand) {
    const RegisterUse store = use_of(0x94210010);  // stwu r1,16(r1)
    EXPECT_EQ(store.reads, r(1));
    EXPECT_EQ(store.writes, r(1));
    EXPECT_EQ(use_of(0xd0230000).reads, r(3));  // stfs f1,0(r3)
    EXPECT_EQ(use_of(0xd0230000).float_reads, r(1));
    EXPECT_EQ(use_of(0x7c60292d).fields_written, 1);  // stwcx. r3,0,r5
}

TEST(RegisterUse, ARegisterThatMeansZeroIsNotRead) {
    EXPECT_EQ(use_of(0x38600001).reads, 0u);    // li r3,1
    EXPECT_EQ(use_of(0x80600000).reads, 0u);    // lwz r3,0(0)
    EXPECT_EQ(use_of(0x20600001).reads, r(0));  // subfic r3,r0,1
}

TEST(RegisterUse, AMultipleGoesOnToTheLastRegister) {
    EXPECT_EQ(use_of(0xbba10000).writes, r(29) | r(30) | r(31));  // lmw r29,0(r1)
    EXPECT_EQ(use_of(0xbfc10000).reads, r(1) | r(30) | r(31));    // stmw r30,0(r1)
}

TEST(RegisterUse, WhatNoOperandNames) {
    EXPECT_EQ(use_of(0x5083083e).reads, r(3) | r(4));       // rlwimi r3,r4,1,0,31
    EXPECT_EQ(use_of(0x7c642fde).fields_read, 0x80);        // isel r3,r4,r5,31
    EXPECT_EQ(use_of(0x7c600026).fields_read, 0xff);        // mfcr r3
    EXPECT_EQ(use_of(0x7c601120).fields_written, 0x80);     // mtcrf 1,r3
    EXPECT_EQ(use_of(0x41820008).fields_read, 1);           // beq
    EXPECT_EQ(use_of(0x42000008).fields_read, 0);           // bdnz
    EXPECT_EQ(use_of(0x4ca74b82).fields_written, 1u << 1);  // cror 5,7,9
    EXPECT_EQ(use_of(0x4ca74b82).fields_read, 1u << 1 | 1u << 2);
}

TEST(RegisterUse, FpscrsFieldsAreNotCrs) {
    EXPECT_EQ(use_of(0xff80010c).fields_written, 0);  // mtfsfi 7,0
    EXPECT_EQ(use_of(0xfc840080).fields_read, 0);     // mcrfs cr1,cr1
    EXPECT_EQ(use_of(0xfc840080).fields_written, 1u << 1);
}

}  // namespace
}  // namespace perfvisor::isa
