// SPDX-License-Identifier: GPL-2.0-or-later
// RAM sizes as QEMU's -m spells them.
#include "machine/guest_memory.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <string>

namespace perfvisor::machine {

namespace {

constexpr uint64_t kRamGranule = 8192;

// Bytes per unit of a size suffix; 0 for a letter that is none.
double unit_of(char suffix) {
    switch (suffix | 0x20) {  // To lower case.
        case 'b':
            return 1;
        case 'k':
            return 1024;
        case 'm':
            return static_cast<double>(kMiB);
        case 'g':
            return static_cast<double>(kGiB);
        case 't':
            return static_cast<double>(kGiB) * 1024;
        case 'p':
            return static_cast<double>(kGiB) * kMiB;
        case 'e':
            return static_cast<double>(kGiB) * kGiB;
        default:
            return 0;
    }
}

// The number at the start of `text`, which it is taken off from: decimal with an optional fraction
// or hexadecimal without.
std::optional<double> take_number(std::string_view& text) {
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    if (hex) {
        uint64_t value = 0;
        const auto [end, error] =
            std::from_chars(text.data() + 2, text.data() + text.size(), value, 16);
        if (error != std::errc{}) return std::nullopt;
        text.remove_prefix(static_cast<size_t>(end - text.data()));
        return static_cast<double>(value);
    }
    // Not from_chars for everything: it would take "inf", "nan" and a sign as well.
    const size_t length = std::min(text.find_first_not_of("0123456789."), text.size());
    double value = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + length, value, std::chars_format::fixed);
    if (length == 0 || error != std::errc{} || end != text.data() + length) return std::nullopt;
    text.remove_prefix(length);
    return value;
}

std::optional<double> parse_bytes(std::string_view text) {
    const auto number = take_number(text);
    if (!number) return std::nullopt;
    if (text.empty()) return *number * static_cast<double>(kMiB);
    const double unit = unit_of(text.front());
    if (text.size() != 1 || unit == 0) return std::nullopt;
    return *number * unit;
}

}  // namespace

Result<uint64_t> parse_memory_size(std::string_view text) {
    std::string_view size = text;
    if (size.find(',') != std::string_view::npos) {
        return fail("-m {}: memory hot-plug (slots, maxmem) is not supported, give a size only",
                    text);
    }
    if (const size_t equals = size.find('='); equals != std::string_view::npos) {
        if (size.substr(0, equals) != "size") {
            return fail("-m {}: \"{}\" is not an option of -m, use size=", text,
                        size.substr(0, equals));
        }
        size.remove_prefix(equals + 1);
    }
    const auto bytes = parse_bytes(size);
    if (!bytes) {
        return fail(
            "-m {}: not a memory size; give a number of MiB or one with K, M or G, such "
            "as 512, 512M or 2G",
            text);
    }
    if (*bytes < static_cast<double>(kMinRamBytes) || *bytes > static_cast<double>(kMaxRamBytes)) {
        return fail("-m {}: the guest's memory must be from 16 MiB to 32 GiB", text);
    }
    const auto exact = static_cast<uint64_t>(std::ceil(*bytes));
    return (exact + kRamGranule - 1) / kRamGranule * kRamGranule;
}

}  // namespace perfvisor::machine
