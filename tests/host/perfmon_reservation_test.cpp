// SPDX-License-Identifier: GPL-2.0-or-later
// Every cell of the reservation's table (docs/reservation.md), in one process.
#include "host/perfmon_reservation.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

#include "host/temporary_runtime.h"

namespace perfvisor::host {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

static_assert(!std::is_copy_constructible_v<Reservation>);
static_assert(std::is_nothrow_move_constructible_v<Reservation>);

constexpr HolderClass kGuest = HolderClass::kGuest;
constexpr HolderClass kHost = HolderClass::kHost;

class ReservationTable : public testing::Test {
  protected:
    // The reservation, which must succeed.
    Reservation take(HolderClass holder_class, const std::string& name) {
        auto result = reserve(registry_, holder_class, name);
        if (!result) {
            ADD_FAILURE() << result.error().error.message;
            ::_exit(1);
        }
        return std::move(*result);
    }
    // The error of a reservation that must be refused because the other class holds.
    ReserveError refused(HolderClass holder_class, const std::string& name) {
        auto result = reserve(registry_, holder_class, name);
        EXPECT_FALSE(result);
        if (result) return {};
        EXPECT_TRUE(result.error().busy()) << result.error().error.message;
        return result.error();
    }
    std::string state() { return brief_status(registry_); }

    TemporaryDirectory directory_;
    PerfmonRegistry registry_ = open_registry(directory_.path());
};

TEST_F(ReservationTable, IsFreeAtFirst) {
    EXPECT_EQ(state(), "free");
}

TEST_F(ReservationTable, FreeGuestReserves) {
    const Reservation guest = take(kGuest, "a");
    EXPECT_EQ(state(), "guest a");
}

TEST_F(ReservationTable, FreeHostUserReserves) {
    const Reservation host = take(kHost, "stat");
    EXPECT_EQ(state(), "host stat");
}

TEST_F(ReservationTable, HostRefusesGuestAndStaysAsItIs) {
    const Reservation host = take(kHost, "stat");
    refused(kGuest, "a");
    EXPECT_EQ(state(), "host stat");
}

TEST_F(ReservationTable, HostUsersShare) {
    const Reservation first = take(kHost, "stat");
    const Reservation second = take(kHost, "top");
    EXPECT_EQ(state(), "host stat top");
}

TEST_F(ReservationTable, GuestsShare) {
    const Reservation first = take(kGuest, "a");
    const Reservation second = take(kGuest, "b");
    EXPECT_EQ(state(), "guest a b");
}

TEST_F(ReservationTable, GuestsRefuseHostUserAndStayAsTheyAre) {
    const Reservation first = take(kGuest, "a");
    const Reservation second = take(kGuest, "b");
    refused(kHost, "stat");
    EXPECT_EQ(state(), "guest a b");
}

TEST_F(ReservationTable, FreeOnlyAfterTheLastGuest) {
    std::optional<Reservation> first = take(kGuest, "a");
    std::optional<Reservation> second = take(kGuest, "b");
    first.reset();
    EXPECT_EQ(state(), "guest b");
    refused(kHost, "stat");
    second.reset();
    EXPECT_EQ(state(), "free");
    take(kHost, "stat");
}

TEST_F(ReservationTable, FreeOnlyAfterTheLastHostUser) {
    std::optional<Reservation> first = take(kHost, "stat");
    std::optional<Reservation> second = take(kHost, "top");
    second.reset();
    EXPECT_EQ(state(), "host stat");
    refused(kGuest, "a");
    first.reset();
    EXPECT_EQ(state(), "free");
    take(kGuest, "a");
}

TEST_F(ReservationTable, ResetGuestFindsAHostUserThatGotInBetween) {
    std::optional<Reservation> guest = take(kGuest, "a");
    guest.reset();
    std::optional<Reservation> host = take(kHost, "stat");
    refused(kGuest, "a");
    host.reset();
    take(kGuest, "a");
}

TEST_F(ReservationTable, TheErrorNamesWhoHolds) {
    HolderInfo info = named("demo");
    info.pid = 4711;
    const auto before = std::chrono::system_clock::now() - std::chrono::seconds(1);
    const auto guest = registry_.reserve_for_guest(info);
    ASSERT_TRUE(guest);
    const ReserveError error = refused(kHost, "stat");
    ASSERT_EQ(error.holders.size(), 1U);
    EXPECT_EQ(error.holders[0], guest->holder());
    EXPECT_EQ(error.holders[0].holder_class, kGuest);
    EXPECT_EQ(error.holders[0].pid, 4711);
    EXPECT_GE(error.holders[0].since, before);
    EXPECT_LE(error.holders[0].since, std::chrono::system_clock::now());
    EXPECT_THAT(error.error.message, HasSubstr("held by guest 'demo' (PID 4711) since 20"));
}

TEST_F(ReservationTable, TheErrorNamesThreeAndCountsTheRest) {
    std::vector<Reservation> guests;
    for (const char* name : {"a", "b", "c", "d", "e"})
        guests.push_back(take(kGuest, name));
    const ReserveError error = refused(kHost, "stat");
    EXPECT_EQ(error.holders.size(), 5U);
    EXPECT_THAT(error.error.message, HasSubstr("'c'"));
    EXPECT_THAT(error.error.message, HasSubstr("and 2 more"));
}

TEST_F(ReservationTable, TheClassIsThatOfTheCallNotOfTheInfo) {
    HolderInfo info = named("a");
    info.holder_class = kHost;
    const auto guest = registry_.reserve_for_guest(info);
    ASSERT_TRUE(guest);
    EXPECT_EQ(state(), "guest a");
}

TEST_F(ReservationTable, MovedReservationHoldsOnce) {
    std::optional<Reservation> first = take(kGuest, "a");
    std::optional<Reservation> moved(std::move(*first));
    first.reset();
    EXPECT_EQ(state(), "guest a");
    Reservation other = take(kGuest, "b");
    other = std::move(*moved);
    EXPECT_EQ(state(), "guest a");
    moved.reset();
    EXPECT_EQ(state(), "guest a");
}

TEST_F(ReservationTable, ReservationOutlivesTheRegistry) {
    std::optional<PerfmonRegistry> other = open_registry(directory_.path());
    const auto guest = other->reserve_for_guest(named("a"));
    ASSERT_TRUE(guest);
    other.reset();
    EXPECT_EQ(state(), "guest a");
}

TEST_F(ReservationTable, DirectoriesAreSeparateWorlds) {
    const Reservation guest = take(kGuest, "a");
    const TemporaryDirectory elsewhere;
    const PerfmonRegistry other = open_registry(elsewhere.path());
    EXPECT_EQ(brief_status(other), "free");
    EXPECT_TRUE(reserve(other, kHost));
}

TEST_F(ReservationTable, LeavesNeitherDescriptorsNorFilesBehind) {
    take(kGuest, "first");
    const int before = open_descriptors();
    for (int i = 0; i < 1000; ++i) {
        const Reservation guest = take(kGuest, "a");
        refused(kHost, "stat");
    }
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_THAT(directory_.entries(), ElementsAre("perfmon.holders", "perfmon.lock"));
}

TEST_F(ReservationTable, ManyHostUsersShareAndAllAreListed) {
    std::vector<Reservation> hosts;
    for (int i = 0; i < 300; ++i)
        hosts.push_back(take(kHost, "h"));
    const auto status = registry_.status();
    ASSERT_TRUE(status);
    EXPECT_EQ(status->holders.size(), 300U);
    refused(kGuest, "a");
    hosts.clear();
    EXPECT_EQ(state(), "free");
}

// Where no record can be had (here: somebody sits on all of them), what decides still works.
TEST_F(ReservationTable, HoldersWithoutARecordExcludeEachOtherAllTheSame) {
    take(kGuest, "first");  // Makes the files.
    const UniqueFd reader(::open(directory_.file("perfmon.holders").c_str(), O_RDONLY));
    ASSERT_EQ(try_lock(reader.get(), LockKind::kShared, {0, 0}), 0);
    {
        const Reservation first = take(kHost, "stat");
        const Reservation second = take(kHost, "top");
        EXPECT_EQ(state(), "host");
        EXPECT_THAT(refused(kGuest, "a").error.message, HasSubstr("held by another process"));
    }
    const Reservation first = take(kGuest, "a");
    const Reservation second = take(kGuest, "b");
    EXPECT_EQ(state(), "guest");
    refused(kHost, "stat");
}

TEST_F(ReservationTable, HoldsBetweenThreads) {
    const Reservation keeper = take(kGuest, "keeper");
    std::vector<std::thread> threads;
    std::vector<int> wrong(8, 0);
    for (std::size_t t = 0; t < wrong.size(); ++t) {
        threads.emplace_back([&, t] {
            const HolderClass mine = t % 2 == 0 ? kGuest : kHost;
            for (int i = 0; i < 200; ++i) {
                const auto result = reserve(registry_, mine);
                const bool right =
                    mine == kGuest ? result.has_value() : !result && result.error().busy();
                wrong[t] += right ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_THAT(wrong, testing::Each(0));
    EXPECT_EQ(state(), "guest keeper");
}

TEST(PerfmonStatusTest, LeavesNoTraceWhereNothingIs) {
    const TemporaryDirectory directory;
    RuntimeDirectoryOptions options = at(directory.file("not-there-yet"));
    options.create = false;
    const auto registry = PerfmonRegistry::open(options);
    ASSERT_TRUE(registry);
    EXPECT_EQ(brief_status(*registry), "free");
    EXPECT_THAT(directory.entries(), ElementsAre());
}

TEST(HolderRecordFormat, SurvivesTheRoundTrip) {
    HolderInfo info = named("Grüße an alle");
    info.holder_class = kHost;
    info.pid = 123;
    info.since = std::chrono::sys_seconds(std::chrono::seconds(5'000'000'000));
    const RecordBytes bytes = encode_record(info);
    EXPECT_EQ(decode_record({bytes.data(), bytes.size()}), info);
}

TEST(HolderRecordFormat, EmptyNameSurvives) {
    const RecordBytes bytes = encode_record(named(""));
    const auto info = decode_record({bytes.data(), bytes.size()});
    ASSERT_TRUE(info);
    EXPECT_EQ(info->name, "");
}

TEST(HolderRecordFormat, NameCannotHarmATerminalNorTheRecord) {
    const RecordBytes bytes = encode_record(named("evil\x1b[2J\nhost 1 1 faked\x7f"));
    const auto info = decode_record({bytes.data(), bytes.size()});
    ASSERT_TRUE(info);
    EXPECT_EQ(info->name, "evil?[2J?host 1 1 faked?");
    EXPECT_EQ(info->holder_class, kGuest);
}

TEST(HolderRecordFormat, LongNameIsCutAtACharacter) {
    std::string name(kMaxNameBytes - 1, 'x');
    const RecordBytes bytes = encode_record(named(name + "üüü"));
    const auto info = decode_record({bytes.data(), bytes.size()});
    ASSERT_TRUE(info);
    EXPECT_EQ(info->name, name);
}

TEST(HolderRecordFormat, EveryTornOrFlippedRecordIsRejected) {
    HolderInfo info = named("demo");
    const RecordBytes bytes = encode_record(info);
    const std::string whole(bytes.data(), bytes.size());
    const std::size_t text_end = whole.find('\n');
    for (std::size_t length = 0; length <= text_end; ++length) {
        EXPECT_FALSE(decode_record(whole.substr(0, length)));
    }
    for (std::size_t i = 0; i < text_end; ++i) {
        std::string flipped = whole;
        flipped[i] = static_cast<char>(flipped[i] ^ 0x11);
        EXPECT_FALSE(decode_record(flipped)) << i;
    }
    EXPECT_FALSE(decode_record(std::string(kRecordBytes, '\0')));
    EXPECT_FALSE(decode_record(std::string(kRecordBytes, '\n')));
    EXPECT_FALSE(decode_record(""));
}

}  // namespace
}  // namespace perfvisor::host
