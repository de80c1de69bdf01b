// SPDX-License-Identifier: GPL-2.0-or-later
// The real-time clock on the I²C bus.
#include "devices/rtc.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace perfvisor::devices {

namespace {

constexpr uint8_t kTwelveHours = 0x40;
constexpr uint8_t kAfternoon = 0x20;
constexpr unsigned kControl = 7;
constexpr uint8_t kControlMask = 0xb3;
constexpr uint8_t kOscillatorStopped = 0x20;

constexpr int64_t kYear2000 = 946684800;  // 2000-01-01 00:00:00 UTC
constexpr int64_t kYear2100 = 4102444800;
constexpr int64_t kSpan = kYear2100 - kYear2000;
constexpr int64_t kSecondsPerDay = 86400;

uint8_t to_bcd(unsigned value) {
    return static_cast<uint8_t>(value / 10 << 4 | value % 10);
}

unsigned from_bcd(uint8_t value) {
    return (value >> 4) * 10U + (value & 0xfU);
}

// A point in time as the registers have it; years 2000 to 2099.
struct Civil {
    int year = 2000;
    unsigned month = 1;
    unsigned day = 1;
    unsigned hour = 0;
    unsigned minute = 0;
    unsigned second = 0;
    unsigned weekday = 0;  // 0 is Sunday.
};

Civil to_civil(int64_t seconds) {
    using std::chrono::days;
    const int64_t day_number = seconds / kSecondsPerDay;
    const auto in_day = static_cast<unsigned>(seconds % kSecondsPerDay);
    const std::chrono::sys_days date{days{day_number}};
    const std::chrono::year_month_day ymd{date};
    return {static_cast<int>(ymd.year()),
            static_cast<unsigned>(ymd.month()),
            static_cast<unsigned>(ymd.day()),
            in_day / 3600,
            in_day / 60 % 60,
            in_day % 60,
            std::chrono::weekday{date}.c_encoding()};
}

// Fields beyond their range carry over, so that any combination the guest writes is some time.
int64_t from_civil(const Civil& civil) {
    using namespace std::chrono;
    const unsigned month_index = civil.month - 1;
    const sys_days first{year{civil.year + static_cast<int>(month_index / 12)} /
                         month{month_index % 12 + 1} / day{1}};
    const int64_t date = first.time_since_epoch().count() + static_cast<int64_t>(civil.day) - 1;
    return date * kSecondsPerDay + civil.hour * 3600 + civil.minute * 60 + civil.second;
}

uint8_t hour_register(unsigned hour, uint8_t mode) {
    if ((mode & kTwelveHours) == 0) return to_bcd(hour);
    const unsigned twelve = hour % 12 == 0 ? 12 : hour % 12;
    return kTwelveHours | (hour >= 12 ? kAfternoon : 0) | to_bcd(twelve);
}

unsigned hour_from_register(uint8_t value) {
    if ((value & kTwelveHours) == 0) return from_bcd(value & 0x3f);
    const unsigned twelve = from_bcd(value & 0x1f) % 12;
    return (value & kAfternoon) != 0 ? twelve + 12 : twelve;
}

}  // namespace

Rtc::Rtc(std::function<int64_t()> clock) : clock_(std::move(clock)) {}

// Kept within the years that the registers can show.
int64_t Rtc::now() const {
    const int64_t host = clock_ ? clock_() : kYear2000;
    const int64_t since = (host % kSpan + state_.offset % kSpan - kYear2000) % kSpan;
    return kYear2000 + (since + kSpan) % kSpan;
}

void Rtc::latch_time() {
    const Civil civil = to_civil(now());
    auto& bytes = state_.bytes;
    bytes[0] = to_bcd(civil.second);
    bytes[1] = to_bcd(civil.minute);
    bytes[2] = hour_register(civil.hour, bytes[2]);
    bytes[3] = static_cast<uint8_t>((civil.weekday + state_.weekday_offset) % 7 + 1);
    bytes[4] = to_bcd(civil.day);
    bytes[5] = to_bcd(civil.month);
    bytes[6] = to_bcd(static_cast<unsigned>(civil.year - 2000));
}

void Rtc::advance() {
    state_.pointer = (state_.pointer + 1) % kBytes;
    if (state_.pointer != 0) return;
    stop();
    latch_time();
}

void Rtc::start(bool is_read) {
    stop();
    if (is_read) {
        latch_time();
    } else {
        state_.expects_pointer = true;
    }
}

uint8_t Rtc::receive() {
    const uint8_t value = state_.bytes[state_.pointer];
    advance();
    return value;
}

// Sets the clock to the time registers that were written, all at once: field by field, the 31st of
// a month yet to be written could become the 1st of the next.
void Rtc::stop() {
    if (state_.written == 0) return;
    const auto written = [this](unsigned field) { return (state_.written >> field & 1) != 0; };
    const auto& bytes = state_.bytes;
    const int64_t before = now();
    Civil civil = to_civil(before);
    if (written(0)) civil.second = from_bcd(bytes[0] & 0x7f);
    if (written(1)) civil.minute = from_bcd(bytes[1] & 0x7f);
    if (written(2)) civil.hour = hour_from_register(bytes[2]);
    if (written(4)) civil.day = from_bcd(bytes[4] & 0x3f);
    if (written(5)) civil.month = std::max(from_bcd(bytes[5] & 0x1f), 1U);
    if (written(6)) civil.year = 2000 + static_cast<int>(from_bcd(bytes[6]));
    state_.offset = (state_.offset + from_civil(civil) - before) % kSpan;
    if (written(3)) {
        // Which day is 1 is the user's business; from there it counts on by itself.
        const unsigned weekday = to_civil(now()).weekday;
        state_.weekday_offset = static_cast<uint8_t>(((bytes[3] & 7) + 13 - weekday) % 7);
    }
    state_.written = 0;
}

void Rtc::send(uint8_t value) {
    if (state_.expects_pointer) {
        state_.expects_pointer = false;
        state_.pointer = value % kBytes;
        return;
    }
    uint8_t& byte = state_.bytes[state_.pointer];
    if (state_.pointer < kControl) {
        byte = value;
        state_.written |= static_cast<uint8_t>(1U << state_.pointer);
    } else if (state_.pointer == kControl) {
        // The oscillator-stop flag can be cleared but not set.
        const uint8_t stopped = value & byte & kOscillatorStopped;
        byte = static_cast<uint8_t>((value & kControlMask & ~kOscillatorStopped) | stopped);
    } else {
        byte = value;
    }
    advance();
}

void Rtc::describe(FdtBuilder& fdt) {
    fdt.begin_node(fmt::format("rtc@{:x}", kAddress));
    fdt.string("compatible", "pericom,pt7c4338");
    fdt.cells("reg", {kAddress});
    fdt.end_node();
}

}  // namespace perfvisor::devices
