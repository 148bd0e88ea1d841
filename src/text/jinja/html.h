// HTML escaping for the filters `escape` and `safe`. Chat templates are rendered without automatic escaping, so this
// shows only where a template asks for it.
#pragma once

#include "text/jinja/text.h"

namespace lem::jinja {

inline void AppendEscapedHtml(TextBuilder& out, const Str& str) {
  TaintCursor taint(str);
  size_t plain_begin = 0;
  for (size_t pos = 0; pos < str.text.size(); ++pos) {
    std::string_view escape;
    switch (str.text[pos]) {
      case '&':
        escape = "&amp;";
        break;
      case '<':
        escape = "&lt;";
        break;
      case '>':
        escape = "&gt;";
        break;
      case '"':
        escape = "&#34;";
        break;
      case '\'':
        escape = "&#39;";
        break;
      default:
        continue;
    }
    out.Append(str, plain_begin, pos);
    out.Append(escape, taint.At(pos));
    plain_begin = pos + 1;
  }
  out.Append(str, plain_begin, str.text.size());
}

inline Value MarkAsMarkup(Heap& heap, const Value& text) {
  return Value::String(heap.New<Str>(text.text(), text.as_string().taint, true));
}

}  // namespace lem::jinja
