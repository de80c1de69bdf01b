// SPDX-License-Identifier: GPL-2.0-or-later
// Who holds the performance monitor, for people to read.
//
// Slot i is bytes i*256 … i*256+255 of the file. A writer claims the slot by an exclusive lock on
// those bytes, writes, and then publishes by an exclusive lock on byte kPublished + i: a reader
// who sees that lock never reads what an earlier owner of the slot has left behind. Readers look
// for exclusive locks only: those need write access, so a mere reader cannot fake a holder.
#include "host/holder_records.h"

#include <fmt/chrono.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>

namespace perfvisor::host {
namespace {

constexpr FileModes kModes{0644, 0664};
constexpr std::int64_t kRecordsEnd = static_cast<std::int64_t>(kRecordBytes) * kRecordSlots;
constexpr std::int64_t kPublished = kRecordsEnd;
constexpr std::size_t kChecksumDigits = 8;

ByteRange slot_bytes(int slot) {
    return {slot * static_cast<std::int64_t>(kRecordBytes), kRecordBytes};
}
ByteRange published_byte(int slot) {
    return {kPublished + slot, 1};
}

// FNV-1a: enough to tell a whole record from a torn one.
std::uint32_t checksum(std::string_view text) {
    std::uint32_t hash = 0x811c9dc5U;
    for (const char c : text)
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193U;
    return hash;
}

// What is safe to print on a terminal, cut at a UTF-8 character's boundary.
std::string printable(std::string_view name) {
    std::size_t length = std::min(name.size(), kMaxNameBytes);
    if (length < name.size()) {
        while (length > 0 && (static_cast<unsigned char>(name[length]) & 0xc0) == 0x80)
            --length;
    }
    std::string text(name.substr(0, length));
    for (char& c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f) c = '?';
    }
    return text;
}

const char* class_word(HolderClass holder_class) {
    return holder_class == HolderClass::kGuest ? "guest" : "host";
}

// Splits off what is before the next space.
std::string_view next_word(std::string_view& text) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) return {};
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(space + 1);
    return word;
}

template <typename Number>
bool parse(std::string_view word, Number& number, int base = 10) {
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number, base);
    return error == std::errc() && end == word.data() + word.size();
}

// A slot that nobody uses, now claimed by `fd`. The search starts at a place of its own for every
// process and descriptor, to be over at once also among many holders.
tl::expected<std::optional<int>, int> claim_slot(int fd) {
    const unsigned start = static_cast<unsigned>(::getpid()) * 37U + static_cast<unsigned>(fd);
    for (unsigned i = 0; i < kRecordSlots; ++i) {
        const int slot = static_cast<int>((start + i) % kRecordSlots);
        const int error = try_lock(fd, LockKind::kExclusive, slot_bytes(slot));
        if (error == 0) return slot;
        if (error != EAGAIN) return tl::unexpected(error);
    }
    return std::nullopt;
}

// Slots whose record is published, in no order.
tl::expected<std::vector<int>, int> published_slots(int fd) {
    std::vector<int> slots;
    std::vector<ByteRange> unexplored{{kPublished, kRecordSlots}};
    while (!unexplored.empty()) {
        const ByteRange range = unexplored.back();
        unexplored.pop_back();
        const std::int64_t end = range.start + range.length;
        const auto found = find_conflict(fd, LockKind::kShared, range);
        if (!found) return tl::unexpected(found.error());
        if (!found->has_value()) continue;
        const ByteRange lock = (*found)->range;
        const std::int64_t lock_end = lock.start + lock.length;
        if (lock.length == 1) slots.push_back(static_cast<int>(lock.start - kPublished));
        if (lock.start > range.start) {
            unexplored.push_back({range.start, lock.start - range.start});
        }
        if (lock_end < end) unexplored.push_back({lock_end, end - lock_end});
    }
    return slots;
}

std::optional<HolderInfo> read_record(int fd, int slot) {
    // Another try is for the unlikely case that the slot changes hands under the read.
    for (int attempt = 0; attempt < 3; ++attempt) {
        RecordBytes bytes{};
        const ssize_t length = ::pread(fd, bytes.data(), bytes.size(), slot_bytes(slot).start);
        if (length <= 0) continue;
        auto info = decode_record({bytes.data(), static_cast<std::size_t>(length)});
        if (info) return info;
    }
    return std::nullopt;
}

FileFailure record_failure(const RuntimeDirectory& directory, const char* what, int error_number) {
    return {error_number,
            Error{fmt::format("cannot {} {}: {}", what, directory.file_path(kHoldersFileName),
                              std::strerror(error_number))}};
}

}  // namespace

RecordBytes encode_record(const HolderInfo& info) {
    const std::string text = fmt::format(
        "{} {} {} {}", class_word(info.holder_class), info.pid,
        static_cast<std::int64_t>(info.since.time_since_epoch().count()), printable(info.name));
    RecordBytes bytes{};
    fmt::format_to_n(bytes.data(), bytes.size(), "{:08x} {}\n", checksum(text), text);
    return bytes;
}

std::optional<HolderInfo> decode_record(std::string_view bytes) {
    const std::size_t newline = bytes.find('\n');
    if (newline == std::string_view::npos) return std::nullopt;
    std::string_view text = bytes.substr(0, newline);
    const std::string_view sum_word = next_word(text);
    std::uint32_t sum = 0;
    if (sum_word.size() != kChecksumDigits || !parse(sum_word, sum, 16) || sum != checksum(text)) {
        return std::nullopt;
    }
    HolderInfo info;
    const std::string_view class_name = next_word(text);
    if (class_name == "guest") {
        info.holder_class = HolderClass::kGuest;
    } else if (class_name == "host") {
        info.holder_class = HolderClass::kHost;
    } else {
        return std::nullopt;
    }
    std::int64_t since = 0;
    if (!parse(next_word(text), info.pid) || !parse(next_word(text), since)) return std::nullopt;
    info.since = std::chrono::sys_seconds(std::chrono::seconds(since));
    info.name = printable(text);
    return info;
}

std::string describe(const HolderInfo& holder) {
    const char* kind = holder.holder_class == HolderClass::kGuest ? "guest" : "host user";
    std::string since;
    const std::time_t time = std::chrono::system_clock::to_time_t(holder.since);
    struct tm local {};
    if (::localtime_r(&time, &local) != nullptr) since = fmt::format(" since {:%F %T}", local);
    const std::string name = holder.name.empty() ? "" : fmt::format(" '{}'", holder.name);
    return fmt::format("{}{} (PID {}){}", kind, name, holder.pid, since);
}

std::string describe(const std::vector<HolderInfo>& holders) {
    constexpr std::size_t kMost = 3;
    std::string text;
    for (std::size_t i = 0; i < std::min(holders.size(), kMost); ++i) {
        text += (i == 0 ? "" : ", ") + describe(holders[i]);
    }
    if (holders.size() > kMost) text += fmt::format(" and {} more", holders.size() - kMost);
    return text.empty() ? "another process" : text;
}

tl::expected<HolderRecord, FileFailure> HolderRecord::publish(const RuntimeDirectory& directory,
                                                              const HolderInfo& info) {
    auto file = open_or_create_runtime_file(directory, kHoldersFileName, kModes);
    if (!file) return tl::unexpected(file.error());
    const int fd = file->fd.get();
    if (file->size == 0) settle_modes(directory, fd, kModes);

    const auto slot = claim_slot(fd);
    if (!slot) return tl::unexpected(record_failure(directory, "lock", slot.error()));
    HolderRecord record(std::move(*file), *slot);
    if (!record.slot_) return record;

    const RecordBytes bytes = encode_record(info);
    int error = write_all_at(fd, {bytes.data(), bytes.size()}, slot_bytes(**slot).start);
    if (error != 0) return tl::unexpected(record_failure(directory, "write", error));
    error = try_lock(fd, LockKind::kExclusive, published_byte(**slot));
    // A reader who sits on the byte keeps us off the list, but not from the performance monitor.
    if (error != 0 && error != EAGAIN) {
        return tl::unexpected(record_failure(directory, "lock", error));
    }
    return record;
}

bool HolderRecord::still_in(const RuntimeDirectory& directory) const {
    return still_named(directory, kHoldersFileName, identity_);
}

Result<std::vector<HolderInfo>> published_holders(const RuntimeDirectory& directory) {
    const auto file = open_runtime_file(directory, kHoldersFileName, FileAccess::kReadOnly);
    if (!file) {
        if (file.error().error_number == ENOENT) return std::vector<HolderInfo>{};
        return tl::unexpected(file.error().error);
    }
    const auto slots = published_slots(file->fd.get());
    if (!slots) {
        return tl::unexpected(record_failure(directory, "examine", slots.error()).error);
    }
    std::vector<HolderInfo> holders;
    for (const int slot : *slots) {
        if (auto info = read_record(file->fd.get(), slot)) holders.push_back(std::move(*info));
    }
    return holders;
}

Result<bool> anyone_published(const RuntimeDirectory& directory) {
    const auto file = open_runtime_file(directory, kHoldersFileName, FileAccess::kReadOnly);
    if (!file) {
        if (file.error().error_number == ENOENT) return false;
        return tl::unexpected(file.error().error);
    }
    const auto found = find_conflict(file->fd.get(), LockKind::kShared, {kPublished, kRecordSlots});
    if (!found) {
        return tl::unexpected(record_failure(directory, "examine", found.error()).error);
    }
    return found->has_value();
}

}  // namespace perfvisor::host
