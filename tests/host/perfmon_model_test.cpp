// SPDX-License-Identifier: GPL-2.0-or-later
// Random sequences of reserve, release, exit, SIGKILL and reset over many processes, against a
// model of the table of docs/reservation.md.
//
// PERFVISOR_TEST_SEED and PERFVISOR_TEST_STEPS in the environment give other sequences.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "host/temporary_runtime.h"

namespace perfvisor::host {
namespace {

constexpr int kWorkers = 12;
constexpr std::uint32_t kDefaultSeed = 20260131;
constexpr int kDefaultSteps = 12000;

std::uint32_t from_environment(const char* name, std::uint32_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise
                           : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
}

// The table: who holds, and for which class.
class Model {
  public:
    struct Holder {
        HolderClass holder_class;
        std::string name;
    };
    using Place = std::pair<int, int>;  // Worker, place in it.

    [[nodiscard]] PerfmonState state() const {
        if (holders_.empty()) return PerfmonState::kFree;
        return holders_.begin()->second.holder_class == HolderClass::kGuest ? PerfmonState::kGuest
                                                                            : PerfmonState::kHost;
    }
    [[nodiscard]] bool allows(HolderClass holder_class) const {
        return holders_.empty() || holders_.begin()->second.holder_class == holder_class;
    }
    void add(Place place, Holder holder) { holders_[place] = std::move(holder); }
    void remove(Place place) { holders_.erase(place); }
    void remove_worker(int worker) {
        std::erase_if(holders_, [&](const auto& entry) { return entry.first.first == worker; });
    }
    [[nodiscard]] bool holds(Place place) const { return holders_.contains(place); }
    [[nodiscard]] const std::map<Place, Holder>& holders() const { return holders_; }

  private:
    std::map<Place, Holder> holders_;
};

class ReservationModel : public testing::Test {
  protected:
    ReservationModel() {
        for (int i = 0; i < kWorkers; ++i)
            workers_.emplace_back(directory_.path());
    }

    int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }
    HolderClass any_class() { return below(2) == 0 ? HolderClass::kGuest : HolderClass::kHost; }
    Model::Place any_place() { return {below(kWorkers), below(Worker::kPlaces)}; }
    Worker& worker(int index) { return workers_[static_cast<std::size_t>(index)]; }
    std::string next_name() { return "holder" + std::to_string(++names_); }

    // Notes that this cell of the table was visited.
    void visit(const char* event) { ++visits_[{event, model_.state()}]; }

    // What a reservation by `place` did, into the model; the outcome must be the table's.
    void account(Model::Place place, HolderClass holder_class, const std::string& name,
                 const Reply& reply) {
        const bool allowed = model_.allows(holder_class);
        visit(holder_class == HolderClass::kGuest ? "guest reserves" : "host reserves");
        EXPECT_EQ(reply.outcome, allowed ? Outcome::kOk : Outcome::kBusy) << reply.message;
        if (!allowed) {
            EXPECT_EQ(reply.holders, static_cast<int>(model_.holders().size()));
            EXPECT_NE(reply.first_class, holder_class);
        }
        if (reply.outcome == Outcome::kOk) model_.add(place, {holder_class, name});
    }

    void reserve_step() {
        const Model::Place place = any_place();
        if (model_.holds(place)) return release(place);
        const HolderClass holder_class = any_class();
        const std::string name = next_name();
        account(place, holder_class, name,
                worker(place.first).reserve(holder_class, place.second, name));
    }

    void release(Model::Place place) {
        visit("release");
        EXPECT_EQ(worker(place.first).release(place.second).outcome, Outcome::kOk);
        model_.remove(place);
    }

    void release_step() {
        if (model_.holders().empty()) return reserve_step();
        auto holder = model_.holders().begin();
        std::advance(holder, below(static_cast<int>(model_.holders().size())));
        release(holder->first);
    }

    // A host user may come in between a guest's release and its next reservation.
    void reset_step() {
        const Model::Place place = any_place();
        const std::string name = next_name();
        const HolderClass holder_class =
            model_.holds(place) ? model_.holders().at(place).holder_class : HolderClass::kGuest;
        visit("reset");
        model_.remove(place);
        account(place, holder_class, name,
                worker(place.first).reset(holder_class, place.second, name));
    }

    void death_step(bool by_signal) {
        const int index = below(kWorkers);
        visit(by_signal ? "SIGKILL" : "exit");
        // Half of the killed are in the middle of something.
        if (by_signal && below(2) == 0) {
            worker(index).post_reserve(any_class(), below(Worker::kPlaces), next_name());
        }
        by_signal ? worker(index).kill_now() : worker(index).exit_now();
        model_.remove_worker(index);
        worker(index) = Worker(directory_.path());
    }

    // Several workers try at the same moment: the outcome must be that of some order.
    void contended_step() {
        struct Try {
            Model::Place place;
            HolderClass holder_class;
            std::string name;
            Reply reply;
        };
        std::vector<Try> tries;
        for (int i = 0; i < kWorkers; ++i) {
            const Model::Place place{i, below(Worker::kPlaces)};
            if (below(2) == 0 && !model_.holds(place)) {
                tries.push_back({place, any_class(), next_name(), {}});
            }
        }
        for (const Try& t : tries) {
            worker(t.place.first).post_reserve(t.holder_class, t.place.second, t.name);
        }
        for (Try& t : tries)
            t.reply = worker(t.place.first).wait_for_reply();
        if (model_.holders().empty()) {
            // Whoever was first decided for which class the others succeed.
            const auto winner = std::find_if(tries.begin(), tries.end(), [](const Try& t) {
                return t.reply.outcome == Outcome::kOk;
            });
            EXPECT_TRUE(tries.empty() || winner != tries.end()) << "somebody must win";
            if (winner != tries.end()) std::iter_swap(tries.begin(), winner);
        }
        for (const Try& t : tries) {
            visit("contended");
            const bool allowed = model_.allows(t.holder_class);
            EXPECT_EQ(t.reply.outcome, allowed ? Outcome::kOk : Outcome::kBusy) << t.reply.message;
            if (t.reply.outcome == Outcome::kOk) model_.add(t.place, {t.holder_class, t.name});
        }
    }

    void one_step(bool growing) {
        const int dice = below(100);
        if (dice < (growing ? 55 : 15)) return reserve_step();
        if (dice < 75) return release_step();
        if (dice < 82) return reset_step();
        if (dice < 85) return death_step(false);
        if (dice < 90) return death_step(true);
        contended_step();
    }

    void compare_with_model() {
        const auto status = registry_.status();
        ASSERT_TRUE(status) << status.error().message;
        ASSERT_EQ(status->state, model_.state());
        using Row = std::tuple<HolderClass, pid_t, std::string>;
        std::multiset<Row> seen;
        std::multiset<Row> expected;
        for (const HolderInfo& holder : status->holders) {
            seen.emplace(holder.holder_class, holder.pid, holder.name);
        }
        for (const auto& [place, holder] : model_.holders()) {
            expected.emplace(holder.holder_class, worker(place.first).pid(), holder.name);
        }
        ASSERT_EQ(seen, expected);
    }

    void every_cell_was_visited() {
        for (const char* event : {"guest reserves", "host reserves", "release", "reset", "exit",
                                  "SIGKILL", "contended"}) {
            for (const PerfmonState state :
                 {PerfmonState::kFree, PerfmonState::kHost, PerfmonState::kGuest}) {
                if (std::string("release") == event && state == PerfmonState::kFree) continue;
                EXPECT_GT((visits_[{event, state}]), 10)
                    << event << " in state " << static_cast<int>(state);
            }
        }
    }

    TemporaryDirectory directory_;
    PerfmonRegistry registry_ = open_registry(directory_.path());
    std::vector<Worker> workers_;
    Model model_;
    std::uint32_t seed_ = from_environment("PERFVISOR_TEST_SEED", kDefaultSeed);
    std::mt19937 random_{seed_};
    int names_ = 0;
    std::map<std::pair<std::string, PerfmonState>, int> visits_;
};

TEST_F(ReservationModel, AgreesWithTheTableAfterEveryStep) {
    const int steps = static_cast<int>(from_environment("PERFVISOR_TEST_STEPS", kDefaultSteps));
    const int descriptors = open_descriptors();
    for (int step = 0; step < steps; ++step) {
        SCOPED_TRACE(testing::Message() << "seed " << seed_ << ", step " << step);
        // Phases of growth and decline, so that full, nearly empty and free states come up.
        one_step(step % 60 < 25);
        ASSERT_NO_FATAL_FAILURE(compare_with_model());
        ASSERT_FALSE(HasFailure());
    }
    if (steps >= kDefaultSteps) every_cell_was_visited();
    EXPECT_EQ(open_descriptors(), descriptors);
    workers_.clear();
    EXPECT_EQ(brief_status(registry_), "free");
    EXPECT_THAT(directory_.entries(), testing::ElementsAre("perfmon.holders", "perfmon.lock"));
    EXPECT_LE(read_file(directory_.file("perfmon.holders")).size(), kRecordBytes * kRecordSlots);
}

}  // namespace
}  // namespace perfvisor::host
