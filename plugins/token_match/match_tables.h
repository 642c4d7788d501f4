// The index tables of TokenMatch: what its attributes say, checked, and rearranged for the kernels. For the host.
//
// A window's `na` entries of `sources` and `nb` entries of `destinations` are token indices, -1 where it has fewer.
// Slot w * na + j is the j-th best source of window w; `taken` and `left` list the slots whose sources merge and stay.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "token_match/match_sizes.h"

namespace edgeexport {

struct MatchTables {
    MatchCounts counts{};
    std::vector<int32_t> table;   // as MatchCounts says
    int32_t highest_token = -1;    // of sources and destinations
    char const* attribute = "";   // the one that is wrong
    std::string problem;          // what is wrong with it; empty if nothing

    bool valid() const { return problem.empty(); }
};

namespace detail {

// Why `tokens` is no table of windows of equal length, padded at their ends; empty if it is one.
inline std::string windowsProblem(std::vector<int32_t> const& tokens, int32_t windows) {
    if (tokens.empty() || tokens.size() % static_cast<size_t>(windows) != 0) {
        return std::to_string(tokens.size()) + " entries, expected the same number for each of " +
               std::to_string(windows) + " windows";
    }
    size_t const length = tokens.size() / static_cast<size_t>(windows);
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i] < -1 || tokens[i] >= kMatchMaxTokens) {
            return std::to_string(tokens[i]) + ", expected token indices from 0 and -1 for padding";
        }
        if (i % length != 0 && tokens[i - 1] < 0 && tokens[i] >= 0) {
            return "token " + std::to_string(tokens[i]) + " after padding, expected padding at a window's end only";
        }
    }
    return {};
}

// Enters the places of `slots` in the output; returns why that is impossible, or nothing.
inline std::string enterSlots(std::vector<int32_t> const& slots, std::vector<int32_t> const& sources, int32_t* places) {
    if (slots.empty()) {
        return "0 entries, expected at least one";
    }
    for (size_t place = 0; place < slots.size(); ++place) {
        int32_t const slot = slots[place];
        if (slot < 0 || static_cast<size_t>(slot) >= sources.size()) {
            return std::to_string(slot) + ", expected positions from 0 to " + std::to_string(sources.size() - 1);
        }
        if (sources[static_cast<size_t>(slot)] < 0) {
            return std::to_string(slot) + ", expected the position of a source, found padding";
        }
        if (places[slot] >= 0) {
            return std::to_string(slot) + " twice, expected every position once";
        }
        places[slot] = static_cast<int32_t>(place);
    }
    return {};
}

}  // namespace detail

// Checks the attributes and derives the kernels' table. The result says what is wrong, if anything is.
inline MatchTables matchTablesFromAttributes(std::vector<int32_t> const& sources,
    std::vector<int32_t> const& destinations, std::vector<int32_t> const& taken, std::vector<int32_t> const& left,
    int32_t windows, int32_t ascending) {
    MatchTables tables;
    auto const refuse = [&tables](char const* attribute, std::string problem) {
        tables.attribute = attribute;
        tables.problem = std::move(problem);
        return tables;
    };
    if (windows < 1) {
        return refuse("windows", std::to_string(windows) + ", expected at least 1");
    }
    if (ascending != 0 && ascending != 1) {
        return refuse("ascending", std::to_string(ascending) + ", expected 0 or 1");
    }
    if (std::string problem = detail::windowsProblem(sources, windows); !problem.empty()) {
        return refuse("sources", problem);
    }
    if (std::string problem = detail::windowsProblem(destinations, windows); !problem.empty()) {
        return refuse("destinations", problem);
    }
    auto const count = [](std::vector<int32_t> const& list) { return static_cast<int32_t>(list.size()); };
    MatchCounts& counts = tables.counts;
    counts.windows = windows;
    counts.sources = count(sources) / windows;
    counts.destinations = count(destinations) / windows;
    counts.taken = count(taken);
    counts.left = count(left);
    counts.ascending = ascending;

    std::vector<int32_t> by_token(sources.size());
    std::iota(by_token.begin(), by_token.end(), 0);
    auto const token = [&sources](int32_t position) { return sources[static_cast<size_t>(position)]; };
    by_token.erase(
        std::remove_if(by_token.begin(), by_token.end(), [&](int32_t position) { return token(position) < 0; }),
        by_token.end());
    std::stable_sort(by_token.begin(), by_token.end(), [&](int32_t a, int32_t b) { return token(a) < token(b); });
    counts.existing = count(by_token);

    tables.table.assign(counts.tableEntries(), -1);
    std::copy(sources.begin(), sources.end(), tables.table.begin());
    std::copy(destinations.begin(), destinations.end(), tables.table.data() + counts.destinationsAt());
    std::copy(by_token.begin(), by_token.end(), tables.table.data() + counts.byTokenAt());
    if (std::string problem = detail::enterSlots(taken, sources, tables.table.data() + counts.takenAt());
        !problem.empty()) {
        return refuse("taken", problem);
    }
    if (std::string problem = detail::enterSlots(left, sources, tables.table.data() + counts.leftAt());
        !problem.empty()) {
        return refuse("left", problem);
    }
    for (int32_t const slot : taken) {
        size_t const first = static_cast<size_t>(slot / counts.sources) * static_cast<size_t>(counts.destinations);
        if (destinations[first] < 0) {
            return refuse("taken", std::to_string(slot) + ", expected a window that has destinations");
        }
    }
    for (std::vector<int32_t> const* list : {&sources, &destinations}) {
        tables.highest_token = std::max(tables.highest_token, *std::max_element(list->begin(), list->end()));
    }
    return tables;
}

}  // namespace edgeexport
