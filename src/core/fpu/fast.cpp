// SPDX-License-Identifier: GPL-2.0-or-later
// Fused multiply-add on hosts that have it, with the exact sign of its rounding error.
//
// x86-64 hosts are asked once whether they have the FMA instructions; others must be compiled for
// a processor that has them. Elsewhere the reference unit does the work. This file must not be
// compiled with contraction: the error-free transformations below are plain sums.

#include "core/fpu/fast.h"

#include <cmath>

#if defined(__x86_64__) && !defined(__FMA__)
#define PERFVISOR_FMA_TARGET [[gnu::target("fma")]]
#define PERFVISOR_FMA_ASK 1
#elif defined(__FP_FAST_FMA) || defined(__FMA__)
#define PERFVISOR_FMA_TARGET
#define PERFVISOR_FMA_ALWAYS 1
#endif

namespace perfvisor::core::fpu::fast {

namespace {

template <To kTo>
Outcome fuse_soft(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b, uint64_t flip_addend,
                  uint64_t flip_result) {
    constexpr bool kSingle = kTo == To::kSingle;
    if (flip_addend == 0) {
        if (flip_result == 0) {
            return kSingle ? soft::madds(fpscr, a, c, b) : soft::madd(fpscr, a, c, b);
        }
        return kSingle ? soft::nmadds(fpscr, a, c, b) : soft::nmadd(fpscr, a, c, b);
    }
    if (flip_result == 0) {
        return kSingle ? soft::msubs(fpscr, a, c, b) : soft::msub(fpscr, a, c, b);
    }
    return kSingle ? soft::nmsubs(fpscr, a, c, b) : soft::nmsub(fpscr, a, c, b);
}

#if defined(PERFVISOR_FMA_ASK) || defined(PERFVISOR_FMA_ALWAYS)

// a*c + b and the sign of its error, after Boldo and Muller, "Exact and Approximated Error of the
// FMA" (2011): exact while nothing over- or underflows.
PERFVISOR_FMA_TARGET inline Rounded fused(double a, double c, double b) {
    const double r = __builtin_fma(a, c, b);
    const double product = a * c;
    const double product_low = __builtin_fma(a, c, -product);
    // TwoSum(b, product_low)
    const double s = b + product_low;
    const double s_from = s - b;
    const double s_low = (b - (s - s_from)) + (product_low - s_from);
    // TwoSum(product, s)
    const double t = product + s;
    const double t_from = t - product;
    const double t_low = (product - (t - t_from)) + (s - t_from);
    const double error = ((t - r) + t_low) + s_low;

    const uint32_t inexact = error != 0 ? 1 : 0;
    const auto value = std::bit_cast<uint64_t>(r);
    const auto differs = static_cast<uint32_t>((value ^ std::bit_cast<uint64_t>(error)) >> 63);
    return {value, inexact, differs & inexact};
}

// Product and addend this far from both ends keep every intermediate of fused() normal or zero.
constexpr uint32_t kLowest = 250;
constexpr uint32_t kHighest = 1900;

template <To kTo>
[[gnu::always_inline]] PERFVISOR_FMA_TARGET inline bool try_fuse(uint32_t& fpscr, uint64_t a,
                                                                 uint64_t c, uint64_t b,
                                                                 uint64_t flip, Outcome& outcome) {
    if (!usable(fpscr)) return false;
    const uint32_t ea = exponent_of(a), ec = exponent_of(c), eb = exponent_of(b);
    const bool addend_fits = in_range(eb, kLowest, kHighest);
    if (!is_normal(ea) || !is_normal(ec)) {
        // 0 * c + b is b: frequent in real programs.
        const bool zero = (is_zero(a) && ec != 0x7ff) || (is_zero(c) && ea != 0x7ff);
        return zero && addend_fits && deliver<kTo>(fpscr, {b, 0, 0}, flip, outcome);
    }
    if (!in_range(ea + ec - 1023, kLowest, kHighest)) return false;
    if (!addend_fits && !is_zero(b)) return false;
    const Rounded r =
        fused(std::bit_cast<double>(a), std::bit_cast<double>(c), std::bit_cast<double>(b));
    if (is_zero(r.value)) return false;
    return deliver<kTo>(fpscr, r, flip, outcome);
}

template <To kTo>
PERFVISOR_FMA_TARGET Outcome fuse_host(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b,
                                       uint64_t flip_addend, uint64_t flip_result) {
    Outcome outcome;
    if (try_fuse<kTo>(fpscr, a, c, b ^ flip_addend, flip_result, outcome)) return outcome;
    return fuse_soft<kTo>(fpscr, a, c, b, flip_addend, flip_result);
}

#else

template <To kTo>
Outcome fuse_host(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b, uint64_t flip_addend,
                  uint64_t flip_result) {
    return fuse_soft<kTo>(fpscr, a, c, b, flip_addend, flip_result);
}

#endif

#if defined(PERFVISOR_FMA_ASK)
bool ask_for_fma() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("fma") != 0;
}
// Until it is initialized, false: the reference unit.
const bool kHasFma = ask_for_fma();
#elif defined(PERFVISOR_FMA_ALWAYS)
constexpr bool kHasFma = true;
#else
constexpr bool kHasFma = false;
#endif

}  // namespace

bool has_host_fma() {
    return kHasFma && kHostIsExact;
}

Outcome fuse_double(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b, uint64_t flip_addend,
                    uint64_t flip_result) {
    return (kHasFma ? fuse_host<To::kDouble> : fuse_soft<To::kDouble>)(fpscr, a, c, b, flip_addend,
                                                                       flip_result);
}

Outcome fuse_single(uint32_t& fpscr, uint64_t a, uint64_t c, uint64_t b, uint64_t flip_addend,
                    uint64_t flip_result) {
    return (kHasFma ? fuse_host<To::kSingle> : fuse_soft<To::kSingle>)(fpscr, a, c, b, flip_addend,
                                                                       flip_result);
}

}  // namespace perfvisor::core::fpu::fast
