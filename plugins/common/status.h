// What a CPU reference returns: 0 or the reason for which it computed nothing.
#pragma once

#include <cstdint>

namespace edgeexport {

enum class Status : int32_t {
    kOk = 0,
    kNullPointer = 1,
    kBadSize = 2,
    kBadType = 3,
    kBadIndex = 4,
    kBadAttribute = 5,
    kNoMemory = 6,
};

constexpr char const* statusText(Status status) {
    switch (status) {
    case Status::kOk: return "ok";
    case Status::kNullPointer: return "a tensor's address is null";
    case Status::kBadSize: return "a size is negative, zero where it must not be, or does not fit the other sizes";
    case Status::kBadType: return "an element type that the op does not take";
    case Status::kBadIndex: return "an index lies outside its tensor";
    case Status::kBadAttribute: return "an attribute is outside its range";
    case Status::kNoMemory: return "not enough memory";
    }
    return "unknown status";
}

}  // namespace edgeexport
