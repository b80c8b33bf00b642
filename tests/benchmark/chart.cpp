#include "tests/benchmark/chart.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace ipc::test {
namespace {

constexpr double width = 960;
constexpr double height = 520;
constexpr double left = 86;
constexpr double right = 20;
constexpr double bottom = 66;
constexpr double title_height = 44;
constexpr double legend_row_height = 22;
constexpr std::size_t legend_columns = 3;
constexpr int label_size = 11;
constexpr double label_height = 12;
constexpr double digit_width = 6.5; // at label_size; commas and points are narrower
constexpr double marker_radius = 4;

// Colours that people with any kind of colour vision can tell apart (Okabe and Ito, 2008).
constexpr std::array<std::string_view, 8> colours = {"#0072b2", "#d55e00", "#007a5a", "#aa4499",
                                                     "#555555", "#8a6d00", "#4b0092", "#000000"};

struct attribute {
    std::string_view name;
    std::string value;
};

std::string element(std::string_view name, const std::vector<attribute>& attributes,
                    std::string_view content = {}) {
    std::string text = "<" + std::string(name);
    for (const attribute& one : attributes) {
        text += " " + std::string(one.name) + "=\"" + escaped(one.value) + "\"";
    }
    return content.empty() ? text + "/>\n"
                           : text + ">" + std::string(content) + "</" + std::string(name) + ">\n";
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text,
                    std::string_view colour = "#222222", int size = 13, bool halo = false) {
    std::vector<attribute> attributes = {{"x", fixed(x, 1)},
                                         {"y", fixed(y, 1)},
                                         {"text-anchor", std::string(anchor)},
                                         {"fill", std::string(colour)},
                                         {"font-size", std::to_string(size)}};
    if (halo) { // a white border separates the text from lines behind it
        attributes.insert(attributes.end(), {{"stroke", "#ffffff"},
                                             {"stroke-width", "3"},
                                             {"stroke-linejoin", "round"},
                                             {"paint-order", "stroke"}});
    }
    return element("text", attributes, escaped(text));
}

std::string line(double x1, double y1, double x2, double y2, std::string_view colour,
                 double thickness, bool dashed = false) {
    std::vector<attribute> attributes = {{"x1", fixed(x1, 1)},
                                         {"y1", fixed(y1, 1)},
                                         {"x2", fixed(x2, 1)},
                                         {"y2", fixed(y2, 1)},
                                         {"stroke", std::string(colour)},
                                         {"stroke-width", fixed(thickness, 1)}};
    if (dashed) {
        attributes.push_back({"stroke-dasharray", "6 4"});
    }
    return element("line", attributes);
}

// Returns the smallest 1, 2 or 5 times a power of ten that is not below the value.
double round_up(double value) {
    const double power = std::pow(10.0, std::floor(std::log10(value)));
    for (const double factor : {1.0, 2.0, 5.0}) {
        if (factor * power >= value) {
            return factor * power;
        }
    }
    return 10.0 * power;
}

// The vertical axis.
class axis {
public:
    explicit axis(const chart& what) : logarithmic_(what.logarithmic) {
        for (const chart_series& series : what.series) {
            for (const std::optional<double>& value : series.values) {
                if (value && shows(*value)) {
                    least_ = any_ ? std::min(least_, *value) : *value;
                    most_ = any_ ? std::max(most_, *value) : *value;
                    any_ = true;
                }
            }
        }
        if (!any_ && logarithmic_) {
            most_ = least_ = 1;
        }
        if (logarithmic_) {
            divide_logarithmic();
        } else {
            divide_linear();
        }
    }

    bool shows(double value) const { return std::isfinite(value) && (!logarithmic_ || value > 0); }
    const std::vector<double>& ticks() const { return ticks_; }

    // Returns 0 for the bottom of the picture, 1 for its top.
    double place(double value) const {
        if (logarithmic_) {
            return std::log10(value / ticks_.front()) / std::log10(ticks_.back() / ticks_.front());
        }
        return (value - ticks_.front()) / (ticks_.back() - ticks_.front());
    }

private:
    void divide_linear() {
        const double low = std::min(least_, 0.0);
        const double high = std::max(most_, 0.0);
        const double step = round_up((high > low ? high - low : 1) / 6);
        const double first = std::floor(low / step);
        divide(first, std::ceil(high / step), [&](double i) { return i * step; });
    }

    void divide_logarithmic() {
        const double first = std::floor(std::log10(least_));
        divide(first, std::ceil(std::log10(most_)), [](double i) { return std::pow(10.0, i); });
    }

    template <typename Value> void divide(double first, double last, Value value) {
        const int steps = std::max(static_cast<int>(last - first), 1);
        for (int i = 0; i <= steps; ++i) {
            ticks_.push_back(value(first + i));
        }
    }

    bool logarithmic_;
    bool any_ = false;
    double least_ = 0;
    double most_ = 0;
    std::vector<double> ticks_;
};

struct area {
    double top = 0;
    double slot = 0; // the width of one category

    double centre(std::size_t category) const {
        return left + slot * (static_cast<double>(category) + 0.5);
    }
    double y(double place) const { return height - bottom - place * (height - bottom - top); }
};

struct label {
    double x = 0;
    double y = 0;
    std::string text;
    std::string_view colour;

    bool overlaps(const label& other) const {
        return x < other.x + other.width() && other.x < x + width() &&
               std::abs(y - other.y) < label_height;
    }
    double width() const { return digit_width * static_cast<double>(text.size()); }
};

std::string_view colour_of(const chart_series& series) {
    return colours[series.colour % colours.size()];
}

std::optional<double> value_of(const chart_series& series, std::size_t category,
                               const axis& scale) {
    const bool there = category < series.values.size() && series.values[category] &&
                       scale.shows(*series.values[category]);
    return there ? series.values[category] : std::nullopt;
}

std::string draw_frame(const chart& what, const axis& scale, const area& place) {
    std::string text;
    for (const double tick : scale.ticks()) {
        const double y = place.y(scale.place(tick));
        text += line(left, y, width - right, y, "#dddddd", 1);
        text += text_at(left - 8, y + 4, "end", number_text(tick), "#555555", 12);
    }
    for (std::size_t i = 0; i < what.categories.size(); ++i) {
        text +=
            text_at(place.centre(i), height - bottom + 20, "middle", what.categories[i], "#222222");
    }
    text += line(left, place.y(0), width - right, place.y(0), "#555555", 1);
    text += text_at((left + width - right) / 2, height - 18, "middle", what.x_axis);
    const std::string middle = fixed((place.top + height - bottom) / 2, 1);
    text += element("g", {{"transform", "translate(20 " + middle + ") rotate(-90)"}},
                    text_at(0, 0, "middle", what.y_axis));
    return text;
}

std::string draw_legend(const chart& what) {
    constexpr double column_width = (width - 2 * right) / legend_columns;
    std::string text;
    for (std::size_t i = 0; i < what.series.size(); ++i) {
        const chart_series& series = what.series[i];
        const std::size_t row = i / legend_columns;
        const double x = right + column_width * static_cast<double>(i % legend_columns);
        const double y = title_height + legend_row_height * static_cast<double>(row);
        text += line(x, y + 8, x + 28, y + 8, colour_of(series), 3, series.dashed);
        text += text_at(x + 34, y + 12, "start", series.name);
    }
    return text;
}

// Draws the points of one series, and a line between two neighbours that both have a value.
std::string draw_line(const chart& what, const chart_series& series, const axis& scale,
                      const area& place, std::vector<label>& labels) {
    const std::string colour(colour_of(series));
    std::string text;
    bool joined = false;
    double y_before = 0;
    for (std::size_t i = 0; i < what.categories.size(); ++i) {
        const std::optional<double> value = value_of(series, i, scale);
        if (value) {
            const double x = place.centre(i);
            const double y = place.y(scale.place(*value));
            if (joined) {
                text += line(place.centre(i - 1), y_before, x, y, colour, 2, series.dashed);
            }
            text += element("circle", {{"cx", fixed(x, 1)},
                                       {"cy", fixed(y, 1)},
                                       {"r", fixed(marker_radius, 1)},
                                       {"stroke", colour},
                                       {"stroke-width", "2"},
                                       {"fill", series.dashed ? "#ffffff" : colour}});
            labels.push_back({x + 8, y + 4, number_text(*value), colour_of(series)});
            y_before = y;
        }
        joined = value.has_value();
    }
    return text;
}

std::string draw_bars(const chart& what, std::size_t index, const axis& scale, const area& place,
                      std::vector<label>& labels) {
    const chart_series& series = what.series[index];
    const double bar = place.slot * 0.85 / static_cast<double>(what.series.size());
    // A logarithmic scale has no 0, so its bars start at the bottom.
    const double ground = what.logarithmic ? place.y(0) : place.y(scale.place(0));
    std::string text;
    for (std::size_t i = 0; i < what.categories.size(); ++i) {
        const std::optional<double> value = value_of(series, i, scale);
        if (!value) {
            continue;
        }
        const double x = place.centre(i) - place.slot * 0.425 + bar * static_cast<double>(index);
        const double y = place.y(scale.place(*value));
        text += element("rect", {{"x", fixed(x + 1, 1)},
                                 {"y", fixed(std::min(y, ground), 1)},
                                 {"width", fixed(std::max(bar - 2, 1.0), 1)},
                                 {"height", fixed(std::abs(ground - y), 1)},
                                 {"fill", std::string(colour_of(series))}});
        label above{x, std::min(y, ground) - 5, number_text(*value), colour_of(series)};
        above.x = x + (bar - above.width()) / 2;
        labels.push_back(above);
    }
    return text;
}

// Leaves out a label that would cover one before it. The axis shows the value, and so does results.csv.
std::string draw_labels(const std::vector<label>& labels) {
    std::vector<label> drawn;
    std::string text;
    for (const label& next : labels) {
        if (std::ranges::none_of(drawn, [&](const label& other) { return next.overlaps(other); })) {
            text += text_at(next.x, next.y, "start", next.text, next.colour, label_size, true);
            drawn.push_back(next);
        }
    }
    return text;
}

} // namespace

std::string number_text(double value) {
    if (!std::isfinite(value)) {
        return "-";
    }
    int digits = 0;
    for (double limit = 100; digits < 6 && value != 0 && std::abs(value) < limit; limit /= 10) {
        ++digits;
    }
    std::string text = fixed(value, digits);
    if (digits > 0) { // "4" says the same as "4.00"
        text.erase(text.find_last_not_of('0') + 1);
        if (text.ends_with('.')) {
            text.pop_back();
        }
    }
    const std::size_t first = text.starts_with('-') ? 1 : 0;
    const std::size_t whole_end = std::min(text.find('.'), text.size());
    for (std::size_t i = whole_end; i > first + 3;) {
        i -= 3;
        text.insert(i, ",");
    }
    return text;
}

std::string svg(const chart& what) {
    const std::size_t rows = (what.series.size() + legend_columns - 1) / legend_columns;
    const auto count = static_cast<double>(std::max<std::size_t>(what.categories.size(), 1));
    const area place{.top = title_height + legend_row_height * static_cast<double>(rows) + 24,
                     .slot = (width - left - right) / count};
    const axis scale(what);

    std::string content = "\n" + element("title", {}, escaped(what.title));
    content += element("rect", {{"width", "100%"}, {"height", "100%"}, {"fill", "#ffffff"}});
    content += text_at(right, 28, "start", what.title, "#222222", 18);
    content += draw_legend(what);
    content += draw_frame(what, scale, place);
    std::vector<label> labels;
    for (std::size_t i = 0; i < what.series.size(); ++i) {
        const std::string drawn = what.kind == chart_kind::lines
                                      ? draw_line(what, what.series[i], scale, place, labels)
                                      : draw_bars(what, i, scale, place, labels);
        content += element("g", {{"id", "series" + std::to_string(i)}}, "\n" + drawn);
    }
    content += draw_labels(labels);
    return element("svg",
                   {{"xmlns", "http://www.w3.org/2000/svg"},
                    {"viewBox", "0 0 " + fixed(width, 0) + " " + fixed(height, 0)},
                    {"font-family", "Segoe UI, Helvetica, Arial, sans-serif"},
                    {"role", "img"}},
                   content);
}

} // namespace ipc::test
