// SPDX-License-Identifier: GPL-2.0-or-later
// Instruction words for the tiny bare-metal guests of the tests, by their assembler names.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace perfvisor::kvm::guest {

using Code = std::vector<uint32_t>;

constexpr uint32_t d_form(unsigned opcode, unsigned d, unsigned a, uint32_t immediate) {
    return opcode << 26 | d << 21 | a << 16 | (immediate & 0xffff);
}
constexpr uint32_t x_form(unsigned d, unsigned a, unsigned b, unsigned extended) {
    return 31u << 26 | d << 21 | a << 16 | b << 11 | extended << 1;
}
constexpr uint32_t spr_form(unsigned r, unsigned number, unsigned extended) {
    return x_form(r, number & 31, number >> 5, extended);
}

constexpr uint32_t li(unsigned d, int value) {
    return d_form(14, d, 0, static_cast<uint32_t>(value));
}
constexpr uint32_t lis(unsigned d, uint32_t value) {
    return d_form(15, d, 0, value);
}
constexpr uint32_t ori(unsigned a, unsigned s, uint32_t value) {
    return d_form(24, s, a, value);
}
constexpr uint32_t addi(unsigned d, unsigned a, int value) {
    return d_form(14, d, a, static_cast<uint32_t>(value));
}
constexpr uint32_t lwz(unsigned d, int offset, unsigned a) {
    return d_form(32, d, a, static_cast<uint32_t>(offset));
}
constexpr uint32_t lbz(unsigned d, int offset, unsigned a) {
    return d_form(34, d, a, static_cast<uint32_t>(offset));
}
constexpr uint32_t stw(unsigned s, int offset, unsigned a) {
    return d_form(36, s, a, static_cast<uint32_t>(offset));
}
constexpr uint32_t stb(unsigned s, int offset, unsigned a) {
    return d_form(38, s, a, static_cast<uint32_t>(offset));
}
constexpr uint32_t sth(unsigned s, int offset, unsigned a) {
    return d_form(44, s, a, static_cast<uint32_t>(offset));
}
constexpr uint32_t lmw(unsigned d, int offset, unsigned a) {
    return d_form(46, d, a, static_cast<uint32_t>(offset));
}
constexpr uint32_t cmpwi(unsigned a, int value) {
    return d_form(11, 0, a, static_cast<uint32_t>(value));
}
// Relative branches, in bytes.
constexpr uint32_t b(int offset) {
    return 18u << 26 | (static_cast<uint32_t>(offset) & 0x03fffffc);
}
constexpr uint32_t bdnz(int offset) {
    return 16u << 26 | 16u << 21 | (static_cast<uint32_t>(offset) & 0xfffc);
}
constexpr uint32_t beq(int offset) {
    return 16u << 26 | 12u << 21 | 2u << 16 | (static_cast<uint32_t>(offset) & 0xfffc);
}
constexpr uint32_t mtspr(unsigned number, unsigned s) {
    return spr_form(s, number, 467);
}
constexpr uint32_t mfspr(unsigned d, unsigned number) {
    return spr_form(d, number, 339);
}
constexpr uint32_t mtpmr(unsigned number, unsigned s) {
    return spr_form(s, number, 462);
}
constexpr uint32_t mfpmr(unsigned d, unsigned number) {
    return spr_form(d, number, 334);
}
constexpr uint32_t mtmsr(unsigned s) {
    return x_form(s, 0, 0, 146);
}
constexpr uint32_t msgsnd(unsigned rb) {
    return x_form(0, 0, rb, 206);
}
constexpr uint32_t kWrteei1 = 0x7c008146, kWrteei0 = 0x7c000146, kNop = 0x60000000,
                   kWait = 0x7c00007c, kRfi = 0x4c000064, kSc = 0x44000002, kTlbwe = 0x7c0007a4,
                   kIsync = 0x4c00012c, kSelf = 0x48000000;

// lis and ori: a 32-bit constant.
inline Code load(unsigned d, uint32_t value) {
    return {lis(d, value >> 16), ori(d, d, value & 0xffff)};
}

inline Code operator+(Code a, const Code& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

}  // namespace perfvisor::kvm::guest
