// SPDX-License-Identifier: GPL-2.0-or-later
// What init says itself: RS (0x1e) "perfvisor-exec " token "\n" when it begins, and in the end the
// trailer, RS "perfvisor-exit " token " " decimal status "\n".
#include "vmm/exec_channel.h"

#include <charconv>
#include <utility>

namespace perfvisor::vmm {
namespace {

constexpr char kRecordSeparator = 0x1e;
constexpr size_t kMaxStatusDigits = 3;

uint64_t fnv1a(std::string_view text, uint64_t hash) {
    for (const char c : text) {
        hash ^= static_cast<uint8_t>(c);
        hash *= 0x100000001b3;
    }
    return hash;
}

std::vector<uint8_t> bytes_of(const std::string& text) {
    return {text.begin(), text.end()};
}

}  // namespace

ExecChannel::ExecChannel(std::string command, Output output, bool counted)
    : command_(std::move(command)), counted_(counted), output_(std::move(output)) {
    token_ = fmt::format("{:016x}{:016x}", fnv1a(command_, 0xcbf29ce484222325),
                         fnv1a(command_, 0x9e3779b97f4a7c15));
}

std::vector<machine::InitramfsFile> ExecChannel::initramfs_files() const {
    std::vector<machine::InitramfsFile> files = {{"perfvisor/command", bytes_of(command_)},
                                                 {"perfvisor/token", bytes_of(token_)}};
    if (counted_)
        files.push_back({"perfvisor/marks",
                         bytes_of(fmt::format("{:08x} {:08x}", marks().open, marks().close))});
    return files;
}

// Derived as the token is, and never the same.
ExecChannel::Marks ExecChannel::marks() const {
    const auto open = static_cast<uint32_t>(fnv1a(token_, 0xcbf29ce484222325));
    return {open, ~open};
}

void ExecChannel::receive(std::span<const uint8_t> bytes) {
    if (!bytes.empty()) begun_ = true;
    while (!bytes.empty()) {
        if (pending_.empty()) {
            size_t plain = 0;
            while (plain < bytes.size() && bytes[plain] != kRecordSeparator)
                ++plain;
            if (plain) output_(bytes.first(plain));
            bytes = bytes.subspan(plain);
            if (bytes.empty()) return;
        }
        pending_.push_back(static_cast<char>(bytes.front()));
        bytes = bytes.subspan(1);
        match_record();
    }
}

// Either pending_ is still a prefix of what init says, or it is that, or its first byte is output.
void ExecChannel::match_record() {
    const Match begin = match_begin(), trailer = match_trailer();
    if (begin == Match::Yes || trailer == Match::Yes) return pending_.clear();
    if (begin == Match::Possible || trailer == Match::Possible) return;
    const std::string rejected = std::exchange(pending_, {});
    const auto* raw = reinterpret_cast<const uint8_t*>(rejected.data());
    output_({raw, 1});
    receive({raw + 1, rejected.size() - 1});
}

ExecChannel::Match ExecChannel::match_begin() const {
    const std::string whole = kRecordSeparator + ("perfvisor-exec " + token_ + "\n");
    if (pending_ == whole) return Match::Yes;
    return whole.starts_with(pending_) ? Match::Possible : Match::No;
}

ExecChannel::Match ExecChannel::match_trailer() {
    const std::string head = kRecordSeparator + ("perfvisor-exit " + token_ + " ");
    if (pending_.size() <= head.size())
        return head.starts_with(pending_) ? Match::Possible : Match::No;
    if (!pending_.starts_with(head)) return Match::No;
    const std::string_view digits = std::string_view(pending_).substr(head.size());
    if (digits.back() == '\n') {
        int status = 0;
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size() - 1, status);
        if (error != std::errc() || *end != '\n' || status < 0 || status > 255) return Match::No;
        status_ = status;
        return Match::Yes;
    }
    const bool number = digits.size() <= kMaxStatusDigits &&
                        digits.find_first_not_of("0123456789") == std::string_view::npos;
    return number ? Match::Possible : Match::No;
}

void ExecChannel::finish() {
    if (pending_.empty()) return;
    output_({reinterpret_cast<const uint8_t*>(pending_.data()), pending_.size()});
    pending_.clear();
}

}  // namespace perfvisor::vmm
