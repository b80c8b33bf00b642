#pragma once

// Draws the benchmark's charts: numbers in, an SVG picture as text out. Nothing here is part of a
// lesson. https://www.w3.org/TR/SVG11/

#include "tests/harness/picture.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ipc::test {

struct chart_series {
    std::string name;
    std::vector<std::optional<double>> values; // one for each category; an empty one leaves a gap
    std::size_t colour = 0;
    bool dashed = false; // a second series of the same colour
};

enum class chart_kind { lines, bars };

// Texts are UTF-8 and may hold any character.
struct chart {
    std::string title;
    std::string x_axis; // with its unit
    std::string y_axis;
    std::vector<std::string> categories;
    std::vector<chart_series> series;
    chart_kind kind = chart_kind::lines;
    bool logarithmic = false; // then a value that is not above 0 leaves a gap
};

// Returns a picture with its own background, so that it is readable in a light and in a dark window.
std::string svg(const chart& what);

// Returns the number with three significant digits, or with all digits before the point: "0.0123",
// "4.56", "12,345".
std::string number_text(double value);

} // namespace ipc::test
