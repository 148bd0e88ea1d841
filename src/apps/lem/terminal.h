// What the commands need of the terminal: lines of text, interrupts, and sizes and times as people read them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "request/request.h"

namespace lem {

// Writes the text and a line break. Control characters within a line, which may come from files or the network, are
// escaped; line breaks stay.
void PrintLine(std::FILE* stream, std::string_view text);
// "lem: text" on stderr.
void PrintError(std::string_view text);

bool IsTerminal(std::FILE* stream);
// Columns of the terminal on stderr; 80 if unknown.
int TerminalWidth();

// The token that the first Ctrl-C (or SIGTERM) cancels; the second one ends the program at once. For commands that look
// at it now and then.
const CancelToken& CancelOnInterrupt();

// "98.4 MB": thousands, as disks and downloads are counted.
std::string FormatBytes(uint64_t bytes);
// "5 s", "3 min 20 s", "1 h 5 min".
std::string FormatSeconds(double seconds);
// "2026-11-22T16:00:00Z"
std::string FormatTimeUtc(int64_t unix_s);
// "just now", "5 minutes ago", "3 days ago".
std::string FormatAge(int64_t unix_s);

}  // namespace lem
