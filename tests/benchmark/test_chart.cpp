#include "tests/benchmark/chart.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <limits>
#include <regex>

namespace {

using Catch::Matchers::ContainsSubstring;
using ipc::test::chart;
using ipc::test::chart_kind;
using ipc::test::number_text;
using values = std::vector<std::optional<double>>;

chart with(const std::vector<values>& all, chart_kind kind = chart_kind::lines) {
    chart what{.title = "The title",
               .x_axis = "clients",
               .y_axis = "requests per second",
               .categories = {"1", "16", "62"},
               .series = {},
               .kind = kind};
    for (const values& one : all) {
        what.series.push_back(
            {.name = "series", .values = one, .colour = what.series.size(), .dashed = false});
    }
    return what;
}

// Returns what is wrong with the nesting of the elements, or an empty text. A correct text is one
// element, and each element is closed before the one that contains it.
std::string nesting_problem(const std::string& text) {
    static const std::regex tag(R"re(<(/?)([a-z]+)((?: [A-Za-z0-9-]+="[^"<>]*")*)(/?)>)re");
    std::vector<std::string> open;
    bool ended = false;
    std::size_t position = 0;
    for (auto i = std::sregex_iterator(text.begin(), text.end(), tag); i != std::sregex_iterator();
         ++i) {
        const auto start = static_cast<std::size_t>(i->position());
        const std::string between = text.substr(position, start - position);
        position = start + static_cast<std::size_t>(i->length());
        if (between.find_first_of("<>") != std::string::npos ||
            (open.empty() && !between.empty())) {
            return "unexpected text: " + between;
        }
        if (ended) {
            return "something behind the end: " + i->str();
        }
        if ((*i)[1].length() != 0) {
            if (open.empty() || open.back() != (*i)[2]) {
                return "not open: " + i->str();
            }
            open.pop_back();
            ended = open.empty();
        } else if ((*i)[4].length() == 0) {
            open.push_back((*i)[2]);
        }
    }
    return ended && text.substr(position) == "\n" ? "" : "no end, or text behind it";
}

std::string series_text(const std::string& picture, int index) {
    const std::regex series("<g id=\"series" + std::to_string(index) + "\">([^]*?)</g>");
    std::smatch found;
    return std::regex_search(picture, found, series) ? found[1].str() : "no such series";
}

struct place {
    double x = 0;
    double y = 0;
};

std::vector<place> places(const std::string& text, const std::string& element) {
    const std::regex form(element);
    std::vector<place> all;
    for (auto i = std::sregex_iterator(text.begin(), text.end(), form); i != std::sregex_iterator();
         ++i) {
        all.push_back({std::stod((*i)[1].str()), std::stod((*i)[2].str())});
    }
    return all;
}

std::vector<place> points(const std::string& picture, int index) {
    return places(series_text(picture, index), R"re(<circle cx="([-.0-9]+)" cy="([-.0-9]+)")re");
}

std::vector<place> bars(const std::string& picture, int index) {
    return places(series_text(picture, index), R"re(<rect x="([-.0-9]+)" y="([-.0-9]+)")re");
}

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t times = 0;
    for (std::size_t i = text.find(part); i != std::string::npos; i = text.find(part, i + 1)) {
        ++times;
    }
    return times;
}

} // namespace

TEST_CASE("A chart is a well-formed picture that shows its title, axes, categories and series") {
    for (const chart_kind kind : {chart_kind::lines, chart_kind::bars}) {
        const std::string picture =
            svg(with({{1000.0, 2000.0, 3000.0}, {7500.0, 8000.0, 12345.0}}, kind));
        CHECK(nesting_problem(picture).empty());
        for (const char* text : {">The title<", ">clients<", ">requests per second<", ">1<", ">16<",
                                 ">62<", ">series<", ">7,500<", ">12,345<"}) {
            CHECK_THAT(picture, ContainsSubstring(text));
        }
    }
}

TEST_CASE("The check for well-formed pictures finds what is wrong") {
    CHECK(nesting_problem("<a b=\"c\"><d/>text</a>\n").empty());
    for (const char* wrong :
         {"", "text", "<a>", "<a></b>\n", "<a></a><b></b>\n", "<a><b></a></b>\n", "<a>x < y</a>\n",
          "<a b=\"<\"></a>\n", "<a b=c></a>\n", "</a>\n"}) {
        CHECK(!nesting_problem(wrong).empty());
    }
}

TEST_CASE("A bigger value is a higher point, and the same value has the same height") {
    for (const bool logarithmic : {false, true}) {
        chart what = with({{10.0, 20.0, 40.0}, {40.0, 10.0, 20.0}});
        what.logarithmic = logarithmic;
        const std::string picture = svg(what);
        const std::vector<place> first = points(picture, 0);
        const std::vector<place> second = points(picture, 1);
        REQUIRE(first.size() == 3);
        REQUIRE(second.size() == 3);
        CHECK(first[0].y > first[1].y); // y grows downwards
        CHECK(first[1].y > first[2].y);
        CHECK(first[2].y == second[0].y);
        CHECK(first[0].y == second[1].y);
        CHECK(first[0].x < first[1].x);
        CHECK(first[1].x == second[1].x);
    }
}

TEST_CASE("On a linear scale equal steps are equal heights, on a logarithmic one equal factors") {
    chart what = with({{100.0, 200.0, 400.0}});
    std::vector<place> at = points(svg(what), 0);
    REQUIRE(at.size() == 3);
    CHECK(2 * (at[0].y - at[1].y) == Catch::Approx(at[1].y - at[2].y).margin(0.5));
    what.logarithmic = true;
    at = points(svg(what), 0);
    REQUIRE(at.size() == 3);
    CHECK(at[0].y - at[1].y == Catch::Approx(at[1].y - at[2].y).margin(0.5));
}

TEST_CASE("A bigger value is a higher bar, and a value below 0 is a bar below the line of 0") {
    const std::string picture = svg(with({{1.0, 2.0, -1.0}}, chart_kind::bars));
    const std::vector<place> tops = bars(picture, 0);
    REQUIRE(tops.size() == 3);
    CHECK(tops[0].y > tops[1].y);
    const std::regex height("height=\"([.0-9]+)\"");
    const std::string text = series_text(picture, 0);
    std::vector<double> heights;
    for (auto i = std::sregex_iterator(text.begin(), text.end(), height);
         i != std::sregex_iterator(); ++i) {
        heights.push_back(std::stod((*i)[1].str()));
    }
    REQUIRE(heights.size() == 3);
    CHECK(tops[0].y + heights[0] == Catch::Approx(tops[1].y + heights[1]).margin(0.2));
    CHECK(tops[2].y == Catch::Approx(tops[0].y + heights[0]).margin(0.2));
}

TEST_CASE("Bars of several series stand side by side") {
    const std::string picture = svg(with({{1.0, 1.0, 1.0}, {1.0, 1.0, 1.0}}, chart_kind::bars));
    const std::vector<place> first = bars(picture, 0);
    const std::vector<place> second = bars(picture, 1);
    REQUIRE(first.size() == 3);
    REQUIRE(second.size() == 3);
    CHECK(first[0].x < second[0].x);
    CHECK(second[0].x < first[1].x);
}

TEST_CASE("A missing value is a gap: no point, no bar, and no line across it") {
    const values one_missing = {1.0, std::nullopt, 3.0};
    const std::string gap = series_text(svg(with({one_missing})), 0);
    CHECK(count(gap, "<circle") == 2);
    CHECK(count(gap, "<line") == 0);
    const std::string whole = series_text(svg(with({{1.0, 2.0, 3.0}})), 0);
    CHECK(count(whole, "<circle") == 3);
    CHECK(count(whole, "<line") == 2);
    CHECK(bars(svg(with({one_missing}, chart_kind::bars)), 0).size() == 2);
    CHECK(points(svg(with({{1.0}})), 0).size() == 1); // fewer values than categories
}

TEST_CASE("A value that the scale cannot show is a gap, too") {
    chart what = with({{0.0, -1.0, 10.0}});
    what.logarithmic = true;
    CHECK(points(svg(what), 0).size() == 1);
    what = with(
        {{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN(), 1.0}});
    CHECK(points(svg(what), 0).size() == 1);
}

TEST_CASE("Characters that mean something in XML are escaped, others stay as they are") {
    chart what = with({{1.0, 2.0, 3.0}});
    what.title = "a < b & c > \"d\"";
    what.x_axis = "Größe µs";
    what.series[0].name = "</g><script>";
    const std::string picture = svg(what);
    CHECK(nesting_problem(picture).empty());
    CHECK_THAT(picture, ContainsSubstring(">a &lt; b &amp; c &gt; &quot;d&quot;<"));
    CHECK_THAT(picture, ContainsSubstring(">Größe µs<"));
    CHECK_THAT(picture, ContainsSubstring("&lt;/g&gt;&lt;script&gt;"));
}

TEST_CASE("A chart without data is still a picture") {
    for (const bool logarithmic : {false, true}) {
        for (chart what : {with({}), with({{}}), with({{std::nullopt, std::nullopt, std::nullopt}}),
                           with({{0.0, 0.0, 0.0}}), chart{}}) {
            what.logarithmic = logarithmic;
            const std::string picture = svg(what);
            CHECK(nesting_problem(picture).empty());
            CHECK(picture.find("nan") == std::string::npos);
            CHECK(picture.find("inf") == std::string::npos);
        }
    }
}

TEST_CASE("A label that would cover another one is left out, and all are inside the picture") {
    for (const chart_kind kind : {chart_kind::lines, chart_kind::bars}) {
        std::vector<values> many(20,
                                 {100000.0, 99999.0, 100000.0}); // a bar is narrower than a label
        many.push_back({1.0, 1.0, 1.0});
        const std::string picture = svg(with(many, kind));
        const std::vector<place> labels = places(
            picture,
            R"re(<text x="([.0-9]+)" y="([.0-9]+)" text-anchor="start" [^>]*font-size="11")re");
        CHECK(labels.size() >= 6); // at least the high one and the low one of each category
        CHECK(labels.size() < 63);
        for (std::size_t i = 0; i < labels.size(); ++i) {
            CHECK(labels[i].x > 0);
            CHECK(labels[i].x < 960 - 7 * 6);
            CHECK(labels[i].y > 0);
            CHECK(labels[i].y < 520);
            for (std::size_t k = i + 1; k < labels.size(); ++k) {
                const bool beside = std::abs(labels[i].x - labels[k].x) > 6;
                const bool above = std::abs(labels[i].y - labels[k].y) > 11;
                CHECK((beside || above));
            }
        }
    }
}

TEST_CASE("Labels that have room are all there") {
    for (const chart_kind kind : {chart_kind::lines, chart_kind::bars}) {
        const std::string picture = svg(with({{10.0, 20.0, 30.0}, {50.0, 60.0, 70.0}}, kind));
        for (const char* text : {">10<", ">20<", ">30<", ">50<", ">60<", ">70<"}) {
            CHECK_THAT(picture, ContainsSubstring(text));
        }
    }
}

TEST_CASE("Numbers have three significant digits, and a comma for each thousand") {
    CHECK(number_text(0) == "0");
    CHECK(number_text(0.01234) == "0.0123");
    CHECK(number_text(1) == "1");
    CHECK(number_text(4.5678) == "4.57");
    CHECK(number_text(12.34) == "12.3");
    CHECK(number_text(123.4) == "123");
    CHECK(number_text(1234) == "1,234");
    CHECK(number_text(1234567) == "1,234,567");
    CHECK(number_text(-1234.5) == "-1,234");
    CHECK(number_text(-0.5) == "-0.5");
}
