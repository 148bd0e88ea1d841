// The formats of strings that are regular enough to be grammars.
#include <array>

#include "grammar/schema.h"

namespace lem {
namespace {

#define LEM_DATE                                                                                                      \
  "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[" \
  "0-8]))|"                                                                                                           \
  "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
// Leap seconds are at the end of a UTC day only: whoever needs them has no format for them here.
#define LEM_TIME "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:[zZ]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
#define LEM_OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define LEM_IPV4 "(?:" LEM_OCTET "\\.){3}" LEM_OCTET
#define LEM_H16 "[0-9a-fA-F]{1,4}"
#define LEM_LS32 "(?:" LEM_H16 ":" LEM_H16 "|" LEM_IPV4 ")"
#define LEM_IPV6                                                                                                       \
  "(?:(?:" LEM_H16 ":){6}" LEM_LS32 "|::(?:" LEM_H16 ":){5}" LEM_LS32 "|(?:" LEM_H16 ")?::(?:" LEM_H16                 \
  ":){4}" LEM_LS32 "|(?:(?:" LEM_H16 ":){0,1}" LEM_H16 ")?::(?:" LEM_H16 ":){3}" LEM_LS32 "|(?:(?:" LEM_H16            \
  ":){0,2}" LEM_H16 ")?::(?:" LEM_H16 ":){2}" LEM_LS32 "|(?:(?:" LEM_H16 ":){0,3}" LEM_H16 ")?::" LEM_H16 ":" LEM_LS32 \
  "|(?:(?:" LEM_H16 ":){0,4}" LEM_H16 ")?::" LEM_LS32 "|(?:(?:" LEM_H16 ":){0,5}" LEM_H16 ")?::" LEM_H16               \
  "|(?:(?:" LEM_H16 ":){0,6}" LEM_H16 ")?::)"
#define LEM_LABEL "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
#define LEM_HOSTNAME LEM_LABEL "(?:\\." LEM_LABEL ")*"
#define LEM_ATOM "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
// URI, RFC 3986.
#define LEM_PERCENT "%[0-9a-fA-F]{2}"
#define LEM_PCHAR "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|" LEM_PERCENT ")"
#define LEM_SEGMENTS "(?:/" LEM_PCHAR "*)*"
#define LEM_AUTHORITY                                                        \
  "(?:(?:[a-zA-Z0-9._~!$&'()*+,;=:-]|" LEM_PERCENT ")*@)?(?:\\[(?:" LEM_IPV6 \
  "|v[0-9a-fA-F]+\\.[a-zA-Z0-9._~!$&'()*+,;=:-]+)\\]|(?:[a-zA-Z0-9._~!$&'()*+,;=-]|" LEM_PERCENT ")*)(?::\\d*)?"
#define LEM_QUERY "(?:[a-zA-Z0-9._~!$&'()*+,;=:@/?-]|" LEM_PERCENT ")*"
#define LEM_URI_END "(?:\\?" LEM_QUERY ")?(?:#" LEM_QUERY ")?"
#define LEM_URI                                                                                                 \
  "[a-zA-Z][a-zA-Z0-9+.-]*:(?://" LEM_AUTHORITY LEM_SEGMENTS "|/(?:" LEM_PCHAR "+" LEM_SEGMENTS ")?|" LEM_PCHAR \
  "+" LEM_SEGMENTS "|)" LEM_URI_END
#define LEM_RELATIVE                                                    \
  "(?://" LEM_AUTHORITY LEM_SEGMENTS "|/(?:" LEM_PCHAR "+" LEM_SEGMENTS \
  ")?|(?:[a-zA-Z0-9._~!$&'()*+,;=@-]|" LEM_PERCENT ")+" LEM_SEGMENTS "|)" LEM_URI_END
#define LEM_JSON_POINTER "(?:/(?:[^~/]|~[01])*)*"

struct Format {
  std::string_view name, pattern;
};

constexpr Format kFormats[] = {
    {"date", LEM_DATE},
    {"time", LEM_TIME},
    {"date-time", "(?:" LEM_DATE ")[tT]" LEM_TIME},
    {"duration",
     "P(?:(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)(?:T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S))?|"
     "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)|\\d+W)"},
    {"email", LEM_ATOM "(?:\\." LEM_ATOM ")*@(?:" LEM_HOSTNAME "|\\[" LEM_IPV4 "\\])"},
    {"hostname", LEM_HOSTNAME},
    {"ipv4", LEM_IPV4},
    {"ip-address", LEM_IPV4},  // drafts 3 and 4
    {"host-name", LEM_HOSTNAME},
    {"ipv6", LEM_IPV6},
    {"uuid", "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
    {"uri", LEM_URI},
    {"iri", LEM_URI},  // the ASCII ones of them
    {"uri-reference", "(?:" LEM_URI "|" LEM_RELATIVE ")"},
    {"iri-reference", "(?:" LEM_URI "|" LEM_RELATIVE ")"},
    {"json-pointer", LEM_JSON_POINTER},
    {"relative-json-pointer", "(?:0|[1-9]\\d*)(?:#|" LEM_JSON_POINTER ")"},
    {"unknown", "(?s:.*)"},
};

}  // namespace

std::optional<std::string_view> FormatPattern(std::string_view name) {
  for (const Format& format : kFormats) {
    if (format.name == name) return format.pattern;
  }
  return std::nullopt;
}

}  // namespace lem
