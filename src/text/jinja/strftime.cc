// strftime with the names of the C locale, whatever the locale of the process, and without the widths by which the C
// library's version can be made to write megabytes.
#include <time.h>

#include <array>

#include "text/jinja/interpreter.h"

namespace lem::jinja {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {"January",   "February", "March",    "April",
                                                      "May",       "June",     "July",     "August",
                                                      "September", "October",  "November", "December"};
constexpr size_t kShortName = 3;

// ISO 8601 week and its year.
struct IsoWeek {
  int year = 0;
  int week = 0;
};

int WeeksInYear(int year) {
  const auto dec31 = [](int y) { return (y + y / 4 - y / 100 + y / 400) % 7; };
  return dec31(year) == 4 || dec31(year - 1) == 3 ? 53 : 52;
}

IsoWeek WeekOf(const tm& t) {
  const int year = t.tm_year + 1900;
  const int weekday = t.tm_wday == 0 ? 7 : t.tm_wday;
  const int week = (t.tm_yday + 1 - weekday + 10) / 7;
  if (week < 1) return {year - 1, WeeksInYear(year - 1)};
  if (week > WeeksInYear(year)) return {year + 1, 1};
  return {year, week};
}

// Appends what %`code` stands for; unpadded is the "-" of %-d. An unknown code is written as it stands.
void AppendCode(std::string& out, char code, bool unpadded, const tm& t, int64_t unix_s) {
  const auto number = [&](int value, int width) {
    out += unpadded ? fmt::format("{}", value) : fmt::format("{:0{}}", value, width);
  };
  const auto spaced = [&](int value) { out += unpadded ? fmt::format("{}", value) : fmt::format("{:2}", value); };
  const int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
  const auto weekday = static_cast<size_t>(t.tm_wday);
  const auto month = static_cast<size_t>(t.tm_mon);
  const auto codes = [&](std::string_view list) {
    for (const char c : list)
      std::isalpha(static_cast<unsigned char>(c)) ? AppendCode(out, c, false, t, unix_s) : out.push_back(c);
  };
  switch (code) {
    case 'a':
      out += kDays[weekday].substr(0, kShortName);
      return;
    case 'A':
      out += kDays[weekday];
      return;
    case 'b':
    case 'h':
      out += kMonths[month].substr(0, kShortName);
      return;
    case 'B':
      out += kMonths[month];
      return;
    case 'c':
      return codes("a b e T Y");
    case 'C':
      return number((t.tm_year + 1900) / 100, 2);
    case 'd':
      return number(t.tm_mday, 2);
    case 'D':
    case 'x':
      return codes("m/d/y");
    case 'e':
      return spaced(t.tm_mday);
    case 'f':
      out += "000000";
      return;
    case 'F':
      return codes("Y-m-d");
    case 'g':
      return number(WeekOf(t).year % 100, 2);
    case 'G':
      return number(WeekOf(t).year, 4);
    case 'H':
      return number(t.tm_hour, 2);
    case 'I':
      return number(hour12, 2);
    case 'j':
      return number(t.tm_yday + 1, 3);
    case 'k':
      return spaced(t.tm_hour);
    case 'l':
      return spaced(hour12);
    case 'm':
      return number(t.tm_mon + 1, 2);
    case 'M':
      return number(t.tm_min, 2);
    case 'n':
      out += '\n';
      return;
    case 'p':
      out += t.tm_hour < 12 ? "AM" : "PM";
      return;
    case 'P':
      out += t.tm_hour < 12 ? "am" : "pm";
      return;
    case 'r':
      return codes("I:M:S p");
    case 'R':
      return codes("H:M");
    case 's':
      out += fmt::format("{}", unix_s);
      return;
    case 'S':
      return number(t.tm_sec, 2);
    case 't':
      out += '\t';
      return;
    case 'T':
    case 'X':
      return codes("H:M:S");
    case 'u':
      return number(t.tm_wday == 0 ? 7 : t.tm_wday, 1);
    case 'U':
      return number((t.tm_yday + 7 - t.tm_wday) / 7, 2);
    case 'V':
      return number(WeekOf(t).week, 2);
    case 'w':
      return number(t.tm_wday, 1);
    case 'W':
      return number((t.tm_yday + 7 - (t.tm_wday + 6) % 7) / 7, 2);
    case 'y':
      return number((t.tm_year + 1900) % 100, 2);
    case 'Y':
      return number(t.tm_year + 1900, 1);
    case 'z':  // as in Python, a time without a zone shows none
    case 'Z':
      return;
    case '%':
      out += '%';
      return;
    default:
      out += '%';
      if (unpadded) out += '-';
      out += code;
  }
}

}  // namespace

std::string FormatTime(std::string_view format, int64_t unix_s) {
  const time_t when = unix_s;
  tm t{};
  if (localtime_r(&when, &t) == nullptr) t = {};
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out += format[i];
      continue;
    }
    const bool unpadded = format[i + 1] == '-' && i + 2 < format.size();
    i += unpadded ? 2 : 1;
    AppendCode(out, format[i], unpadded, t, unix_s);
  }
  return out;
}

}  // namespace lem::jinja
