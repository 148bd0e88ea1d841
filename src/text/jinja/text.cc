#include "text/jinja/text.h"

#include <algorithm>

namespace lem::jinja {
namespace {

const Str kEmptyStr;

// The first span that ends after `pos`.
size_t FirstSpan(std::span<const TaintSpan> spans, size_t pos) {
  return static_cast<size_t>(
      std::ranges::partition_point(spans, [pos](const TaintSpan& span) { return span.end <= pos; }) - spans.begin());
}

}  // namespace

const Str* Slice(Heap& heap, const Str& str, size_t begin, size_t end) {
  if (begin >= end || heap.exhausted()) return &kEmptyStr;
  if (begin == 0 && end == str.text.size()) return &str;
  auto* out = heap.New<Str>(str.text.substr(begin, end - begin), std::span<const TaintSpan>(), str.markup);
  const size_t first = FirstSpan(str.taint, begin);
  size_t last = first;
  while (last < str.taint.size() && str.taint[last].begin < end) ++last;
  if (first == last) return out;
  auto* spans = heap.NewArray<TaintSpan>(last - first);
  if (spans == nullptr) return &kEmptyStr;
  for (size_t i = first; i < last; ++i) {
    spans[i - first] = {std::max(str.taint[i].begin, begin) - begin, std::min(str.taint[i].end, end) - begin};
  }
  out->taint = {spans, last - first};
  return out;
}

const Str* TrustedStr(Heap& heap, std::string_view text) { return heap.New<Str>(text, std::span<const TaintSpan>()); }

const Str* TaintedStr(Heap& heap, std::string_view text) {
  if (text.empty()) return &kEmptyStr;
  const auto* span = heap.New<TaintSpan>(size_t{0}, text.size());
  return heap.New<Str>(text, std::span<const TaintSpan>(span, 1));
}

Value MakeString(Heap& heap, std::string text) { return Value::String(TrustedStr(heap, heap.Keep(std::move(text)))); }

bool TextBuilder::Fits(size_t bytes) {
  if (heap_.exhausted()) return false;
  heap_.SpendBytes(bytes);
  // Marks count too: text of the caller and of the template may take turns byte by byte.
  const size_t used = text_.size() + taint_.size() * sizeof(TaintSpan);
  if (used <= max_bytes_ && bytes <= max_bytes_ - used) return true;
  heap_.Exhaust(fmt::format("makes a text above the {} MiB allowed", max_bytes_ >> 20));
  return false;
}

void TextBuilder::Mark(size_t begin, size_t end) {
  if (begin == end) return;
  if (!taint_.empty() && taint_.back().end == begin) {
    taint_.back().end = end;
  } else {
    taint_.push_back({begin, end});
  }
}

void TextBuilder::Append(const Str& str, size_t begin, size_t end) {
  if (begin >= end || !Fits(end - begin)) return;
  const size_t offset = text_.size();
  for (size_t i = FirstSpan(str.taint, begin); i < str.taint.size() && str.taint[i].begin < end; ++i) {
    Mark(offset + std::max(str.taint[i].begin, begin) - begin, offset + std::min(str.taint[i].end, end) - begin);
  }
  text_.append(str.text.substr(begin, end - begin));
}

void TextBuilder::Append(std::string_view text, bool tainted) {
  if (!Fits(text.size())) return;
  if (tainted) Mark(text_.size(), text_.size() + text.size());
  text_ += text;
}

void TextBuilder::AppendTimes(const Str& str, int64_t count) {
  if (count <= 0 || str.text.empty()) return;
  const auto times = static_cast<size_t>(count);
  // Asks for all at once, so that a huge count ends before the work begins.
  if (!Fits(times > max_bytes_ / str.text.size() ? max_bytes_ + 1 : times * str.text.size())) return;
  text_.reserve(text_.size() + times * str.text.size());
  for (size_t i = 0; i < times && !heap_.exhausted(); ++i) Append(str);
}

Value TextBuilder::Finish() {
  if (text_.empty() || heap_.exhausted()) return Value::String(&kEmptyStr);
  auto* spans = heap_.NewArray<TaintSpan>(taint_.size());
  if (spans == nullptr) return Value::String(&kEmptyStr);
  std::ranges::copy(taint_, spans);
  auto* out = heap_.New<Str>(heap_.Keep(std::move(text_)), std::span<const TaintSpan>(spans, taint_.size()));
  text_.clear();
  taint_.clear();
  return Value::String(out);
}

}  // namespace lem::jinja
