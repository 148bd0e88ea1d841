#include "text/pretokenizer.h"

#include <algorithm>
#include <variant>

#include "text/pretokenizer_families.h"

namespace lem {
namespace {

// REQUIRES: [begin, end) holds no run that begins before it.
size_t RunEnd(std::span<const ClassMask> masks, size_t pos, size_t end, ClassMask mask) {
  while (pos < end && (masks[pos] & mask) != 0) ++pos;
  return pos;
}

struct GroupNumbers {
  ClassMask number = 0;
  void Split(std::span<const ClassMask> masks, size_t begin, size_t end, std::vector<size_t>& ends) const {
    size_t last = begin;
    for (size_t pos = begin; pos < end;) {
      if ((masks[pos] & number) == 0) {
        ++pos;
        continue;
      }
      const size_t run_end = RunEnd(masks, pos, end, number);
      const size_t remainder = (run_end - pos) % 3;
      for (size_t cut = pos + (remainder == 0 ? 3 : remainder); cut <= run_end; cut += 3) ends.push_back(last = cut);
      pos = run_end;
    }
    if (last < end) ends.push_back(end);
  }
};

struct CutDigits {
  ClassMask digit = 0;
  void Split(std::span<const ClassMask> masks, size_t begin, size_t end, std::vector<size_t>& ends) const {
    for (size_t pos = begin; pos < end;) {
      if ((masks[pos] & digit) == 0) {
        ++pos;
        continue;
      }
      const size_t run_end = RunEnd(masks, pos, end, digit);
      for (size_t cut = pos + (run_end - pos) % 3; cut < run_end; cut += 3) {
        if (cut > begin) ends.push_back(cut);
      }
      pos = run_end;
    }
    if (begin < end) ends.push_back(end);
  }
};

CharSet NumberSet() {
  CharSet set;
  set.categories[static_cast<size_t>(CharClass::kNumber)] = true;
  for (char32_t c = U'0'; c <= U'9'; ++c) set.ascii[c] = true;
  return set;
}

CharSet DigitSet() {
  CharSet set = NumberSet();
  set.categories = {};
  return set;
}

}  // namespace

struct PreTokenizer::Rule {
  std::variant<SplitPattern, GroupNumbers, CutDigits> splitter;
};

PreTokenizer::PreTokenizer(const PreTokenizerFamily& family) : traits_(family.traits) {
  for (const std::string_view rule : family.rules) {
    if (rule == kGroupNumbersByThree) {
      rules_.push_back({GroupNumbers{classes_.Add(NumberSet(), {})}});
    } else if (rule == kCutDigitsByThree) {
      rules_.push_back({CutDigits{classes_.Add(DigitSet(), {})}});
    } else {
      rules_.push_back({SplitPattern(rule, classes_)});
    }
  }
  classes_.Finish();
}

PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::Create(std::string_view name) {
  for (const PreTokenizerFamily& family : PreTokenizerFamilies()) {
    if (std::find(family.names.begin(), family.names.end(), name) != family.names.end()) return PreTokenizer(family);
  }
  return Unimplemented(
      "tokenizer.ggml.pre is \"{}\", a pre-tokeniser this program does not know; convert the model to one it knows",
      name);
}

std::vector<size_t> PreTokenizer::Split(std::string_view text) const {
  std::vector<ClassMask> masks;
  masks.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    const Codepoint codepoint = DecodeCodepoint(text, offset);
    masks.push_back(classes_.MaskOf(codepoint.value));
    offset += codepoint.num_bytes;
  }
  std::vector<size_t> ends = {masks.size()};
  std::vector<size_t> next_ends;
  for (const Rule& rule : rules_) {
    next_ends.clear();
    next_ends.reserve(ends.size());
    size_t begin = 0;
    for (const size_t end : ends) {
      std::visit([&](const auto& splitter) { splitter.Split(masks, begin, end, next_ends); }, rule.splitter);
      begin = end;
    }
    ends.swap(next_ends);
  }
  // From code points to bytes.
  size_t position = 0;
  size_t offset = 0;
  for (size_t& end : ends) {
    const size_t begin_offset = offset;
    for (; position < end; ++position) offset += ClaimedUtf8Length(text[offset]);
    end = offset - begin_offset;
  }
  return ends;
}

}  // namespace lem
