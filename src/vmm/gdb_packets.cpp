// SPDX-License-Identifier: GPL-2.0-or-later
// The framing of gdb's remote serial protocol.
#include "vmm/gdb_packets.h"

#include <fmt/format.h>

#include <utility>

namespace perfvisor::vmm {
namespace {

constexpr char kInterrupt = 0x03;
constexpr uint8_t kEscapeMask = 0x20;

// The value of a hexadecimal digit, 16 for anything else.
uint8_t digit_value(char c) {
    if (c >= '0' && c <= '9') return static_cast<uint8_t>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<uint8_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<uint8_t>(c - 'A' + 10);
    return 16;
}

}  // namespace

void GdbPacketReader::data_byte(uint8_t byte) {
    if (data_.size() < kMostPacketBytes)
        data_ += static_cast<char>(byte);
    else
        damaged_ = true;
}

std::vector<GdbInput> GdbPacketReader::receive(std::string_view bytes) {
    std::vector<GdbInput> inputs;
    for (const char c : bytes) {
        const auto byte = static_cast<uint8_t>(c);
        // A new packet's start ends one that was broken off.
        if (c == '$' && state_ != State::Between) state_ = State::Between;
        switch (state_) {
            case State::Between:
                if (c == '$') {
                    state_ = State::Data;
                    data_.clear();
                    sum_ = 0;
                    damaged_ = false;
                } else if (c == kInterrupt) {
                    inputs.push_back({GdbInput::Kind::Interrupt, {}});
                } else if (c == '-') {
                    inputs.push_back({GdbInput::Kind::Resend, {}});
                }
                break;
            case State::Data:
                if (c == '#') {
                    state_ = State::Checksum1;
                    break;
                }
                sum_ = static_cast<uint8_t>(sum_ + byte);
                if (c == '}')
                    state_ = State::Escaped;
                else
                    data_byte(byte);
                break;
            case State::Escaped:
                sum_ = static_cast<uint8_t>(sum_ + byte);
                data_byte(byte ^ kEscapeMask);
                state_ = State::Data;
                break;
            case State::Checksum1:
                first_digit_ = digit_value(c);
                state_ = State::Checksum2;
                break;
            case State::Checksum2: {
                const uint8_t second = digit_value(c);
                const bool good = !damaged_ && first_digit_ < 16 && second < 16 &&
                                  (first_digit_ << 4 | second) == sum_;
                inputs.push_back({good ? GdbInput::Kind::Packet : GdbInput::Kind::Damaged,
                                  good ? std::exchange(data_, {}) : std::string()});
                state_ = State::Between;
                break;
            }
        }
    }
    return inputs;
}

std::string gdb_packet(std::string_view data) {
    std::string text = "$";
    uint8_t sum = 0;
    const auto add = [&](char c) {
        text += c;
        sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
    };
    for (const char c : data) {
        if (c == '$' || c == '#' || c == '}' || c == '*') {
            add('}');
            add(static_cast<char>(c ^ kEscapeMask));
        } else {
            add(c);
        }
    }
    return text + fmt::format("#{:02x}", sum);
}

std::string to_hex(std::span<const uint8_t> bytes) {
    std::string text;
    text.reserve(2 * bytes.size());
    for (const uint8_t byte : bytes)
        text += fmt::format("{:02x}", byte);
    return text;
}

std::optional<std::vector<uint8_t>> from_hex(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    std::vector<uint8_t> bytes;
    bytes.reserve(text.size() / 2);
    for (size_t n = 0; n < text.size(); n += 2) {
        const uint8_t high = digit_value(text[n]), low = digit_value(text[n + 1]);
        if (high > 15 || low > 15) return std::nullopt;
        bytes.push_back(static_cast<uint8_t>(high << 4 | low));
    }
    return bytes;
}

std::optional<uint64_t> take_hex(std::string_view& text) {
    uint64_t value = 0;
    size_t digits = 0;
    while (digits < text.size() && digits < 16 && digit_value(text[digits]) < 16)
        value = value << 4 | digit_value(text[digits++]);
    if (digits == 0) return std::nullopt;
    text.remove_prefix(digits);
    return value;
}

bool take(std::string_view& text, std::string_view what) {
    if (!text.starts_with(what)) return false;
    text.remove_prefix(what.size());
    return true;
}

}  // namespace perfvisor::vmm
