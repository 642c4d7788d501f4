// Checks of the driver: a failed one is printed and counted, and the rest goes on.
#pragma once

#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace driver {

inline int failures = 0;

inline void report(char const* file, int line, std::string const& finding) {
    ++failures;
    std::cerr << file << ":" << line << ": " << finding << "\n";
}

template <class T>
std::string text(T const& value) {
    std::ostringstream stream;
    stream << value;
    return stream.str();
}

template <class T>
std::string text(std::vector<T> const& values) {
    std::string joined;
    for (T const& value : values) {
        joined += (joined.empty() ? "" : ", ") + text(value);
    }
    return "[" + joined + "]";
}

template <class Found, class Expected>
void checkEqual(char const* file, int line, std::string const& what, Found const& found, Expected const& expected) {
    if (!(found == expected)) {
        report(file, line, what + ": found " + text(found) + ", expected " + text(expected));
    }
}

}  // namespace driver

#define CHECK(what, condition)                                                           \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            driver::report(__FILE__, __LINE__, std::string(what) + ": not " #condition); \
        }                                                                                \
    } while (false)

#define CHECK_EQUAL(what, found, expected) driver::checkEqual(__FILE__, __LINE__, what, found, expected)
