// Strings with provenance: slices without copying, and a builder that keeps the marks of what is appended.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace lem::jinja {

// Bytes [begin, end) of `str`, sharing its memory.
const Str* Slice(Heap& heap, const Str& str, size_t begin, size_t end);
// A trusted string from text that outlives the heap.
const Str* TrustedStr(Heap& heap, std::string_view text);
// A string of the caller from text that outlives the heap.
const Str* TaintedStr(Heap& heap, std::string_view text);
// A trusted string from text that the heap takes over.
Value MakeString(Heap& heap, std::string text);

// Tells for rising positions whether the byte is the caller's.
class TaintCursor {
 public:
  explicit TaintCursor(const Str& str) : spans_(str.taint) {}
  // REQUIRES: pos is not below that of the call before.
  bool At(size_t pos) {
    while (idx_ < spans_.size() && spans_[idx_].end <= pos) ++idx_;
    return idx_ < spans_.size() && spans_[idx_].begin <= pos;
  }

 private:
  std::span<const TaintSpan> spans_;
  size_t idx_ = 0;
};

class TextBuilder {
 public:
  // Text beyond max_bytes is dropped and the heap's budget marked as crossed.
  TextBuilder(Heap& heap, size_t max_bytes) : heap_(heap), max_bytes_(max_bytes) {}
  explicit TextBuilder(Heap& heap) : TextBuilder(heap, heap.limits().max_text_bytes) {}

  void Append(const Str& str) { Append(str, 0, str.text.size()); }
  void Append(const Str& str, size_t begin, size_t end);
  void Append(std::string_view text, bool tainted);
  void AppendTrusted(std::string_view text) { Append(text, false); }
  // Nothing if `count` is not positive.
  void AppendTimes(const Str& str, int64_t count);

  size_t size() const { return text_.size(); }
  const std::string& text() const { return text_; }
  std::span<const TaintSpan> taint() const { return taint_; }
  Heap& heap() { return heap_; }

  // The text as a value; the builder is empty afterwards.
  Value Finish();

 private:
  bool Fits(size_t bytes);
  void Mark(size_t begin, size_t end);

  Heap& heap_;
  size_t max_bytes_;
  std::string text_;
  std::vector<TaintSpan> taint_;
};

}  // namespace lem::jinja
