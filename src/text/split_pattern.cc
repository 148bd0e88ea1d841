#include "text/split_pattern.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace lem {
namespace {

constexpr size_t kUnbounded = std::numeric_limits<size_t>::max();

void AddRange(CharSet& set, char32_t first, char32_t last) {
  for (char32_t c = first; c <= last && c < 0x80; ++c) set.ascii[c] = true;
  if (last >= 0x80) set.ranges.emplace_back(std::max<char32_t>(first, 0x80), last);
}

void AddCategory(CharSet& set, CharClass category) {
  set.categories[static_cast<size_t>(category)] = true;
  for (char32_t c = 0; c < 0x80; ++c) {
    if (ClassOf(c) == category) set.ascii[c] = true;
  }
}

void AddHan(CharSet& set) {
  for (const auto& [first, last] : {std::pair<char32_t, char32_t>{0x3400, 0x4DBF},
                                    {0x4E00, 0x9FFF},
                                    {0xF900, 0xFAFF},
                                    {0x20000, 0x2A6DF},
                                    {0x2A700, 0x2EBEF},
                                    {0x2F800, 0x2FA1F}}) {
    AddRange(set, first, last);
  }
}

}  // namespace

bool CharSet::Contains(char32_t value, CharClass category) const {
  bool found = value < 0x80 ? ascii[value] : categories[static_cast<size_t>(category)];
  if (!found && value >= 0x80) {
    found = std::any_of(ranges.begin(), ranges.end(),
                        [value](const auto& range) { return range.first <= value && value <= range.second; });
  }
  return found != negated;
}

bool CharClassSet::Entry::Contains(char32_t value, CharClass category) const {
  return include.Contains(value, category) && !exclude.Contains(value, category);
}

ClassMask CharClassSet::Add(const CharSet& include, const CharSet& exclude) {
  const Entry entry{include, exclude};
  auto it = std::find(entries_.begin(), entries_.end(), entry);
  if (it == entries_.end()) {
    LEM_CHECK(entries_.size() < 32) << "too many character classes";
    entries_.push_back(entry);
    it = entries_.end() - 1;
  }
  return ClassMask{1} << (it - entries_.begin());
}

void CharClassSet::Finish() {
  for (const Entry& entry : entries_) {
    for (const CharSet* set : {&entry.include, &entry.exclude}) {
      for (const auto& [first, last] : set->ranges) {
        first_range_ = std::min(first_range_, first);
        last_range_ = std::max(last_range_, last);
      }
    }
  }
  for (char32_t c = 0; c < 0x80; ++c) ascii_masks_[c] = Evaluate(c, ClassOf(c));
  for (size_t category = 0; category < category_masks_.size(); ++category) {
    // 0x110000 is in no range, so only the category speaks.
    category_masks_[category] = Evaluate(0x110000, static_cast<CharClass>(category));
  }
  // llama.cpp turns all white space above ASCII into a vertical tab before matching: no range of a pattern holds it.
  category_masks_[static_cast<size_t>(CharClass::kWhitespace)] = ascii_masks_['\v'];
}

ClassMask CharClassSet::Evaluate(char32_t value, CharClass category) const {
  ClassMask mask = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].Contains(value, category)) mask |= ClassMask{1} << i;
  }
  return mask;
}

ClassMask CharClassSet::MaskOfNonAscii(char32_t value) const {
  const CharClass category = ClassOf(value);
  if (value < first_range_ || value > last_range_ || category == CharClass::kWhitespace) {
    return category_masks_[static_cast<size_t>(category)];
  }
  return Evaluate(value, category);
}

// Recursive descent over the pattern text; see the syntax in the header.
class PatternCompiler {
 public:
  PatternCompiler(std::string_view pattern, CharClassSet& classes) : pattern_(pattern), classes_(classes) {}

  std::vector<SplitPattern::Alternative> Compile() {
    std::vector<SplitPattern::Alternative> out(1);
    while (!AtEnd()) {
      if (Take("|")) {
        out.emplace_back();
      } else {
        out.back().items.push_back(ReadItem());
      }
    }
    for (SplitPattern::Alternative& alternative : out) alternative.first = SplitPattern::FirstOf(alternative);
    return out;
  }

 private:
  using Item = SplitPattern::Item;
  using ItemKind = SplitPattern::ItemKind;

  bool AtEnd() const { return pos_ == pattern_.size(); }
  bool Take(std::string_view text) {
    if (!pattern_.substr(pos_).starts_with(text)) return false;
    pos_ += text.size();
    return true;
  }
  void Expect(std::string_view text) { LEM_CHECK(Take(text)) << "expected " << text << " in " << pattern_; }
  char32_t TakeCodepoint() {
    LEM_CHECK(!AtEnd()) << "unfinished pattern " << pattern_;
    const Codepoint codepoint = DecodeCodepoint(pattern_, pos_);
    pos_ += codepoint.num_bytes;
    return codepoint.value;
  }

  Item ReadItem() {
    Item item;
    if (Take("(?!")) {
      item.kind = ItemKind::kNotAhead;
      item.mask = ReadClass();
      Expect(")");
      return item;
    }
    if (Take("$")) {
      item.kind = ItemKind::kEnd;
      return item;
    }
    if (Take("(?:")) {
      item.kind = ItemKind::kOptions;
      item.options.emplace_back();
      while (!Take(")")) {
        if (Take("|")) {
          item.options.emplace_back();
        } else {
          item.options.back().push_back(ReadClass());
        }
      }
    } else {
      item.mask = ReadClass();
    }
    ReadQuantifier(item);
    return item;
  }

  void ReadQuantifier(Item& item) {
    if (Take("?")) {
      item.min = 0;
    } else if (Take("*")) {
      item.min = 0;
      item.max = kUnbounded;
    } else if (Take("+")) {
      item.max = kUnbounded;
    } else if (Take("{")) {
      item.min = item.max = ReadNumber();
      if (Take(",")) item.max = ReadNumber();
      Expect("}");
    }
  }

  size_t ReadNumber() {
    size_t value = 0;
    while (!AtEnd() && pattern_[pos_] >= '0' && pattern_[pos_] <= '9') {
      value = value * 10 + static_cast<size_t>(pattern_[pos_++] - '0');
    }
    return value;
  }

  ClassMask ReadClass() {
    CharSet include;
    CharSet exclude;
    if (Take("[")) {
      include.negated = Take("^");
      CharSet* set = &include;
      while (!Take("]")) {
        if (Take("--")) {
          set = &exclude;
        } else {
          ReadMember(*set);
        }
      }
    } else {
      ReadMember(include);
    }
    return classes_.Add(include, exclude);
  }

  // One code point, range or escape.
  void ReadMember(CharSet& set) {
    char32_t first = TakeCodepoint();
    if (first == U'\\') {
      const char32_t escape = TakeCodepoint();
      if (AddEscape(escape, set)) return;
      first = escape == U'r' ? U'\r' : escape == U'n' ? U'\n' : escape == U't' ? U'\t' : escape;
    }
    char32_t last = first;
    const std::string_view rest = pattern_.substr(pos_);
    if (rest.starts_with("-") && !rest.starts_with("--") && !rest.starts_with("-]")) {
      ++pos_;
      last = TakeCodepoint();
    }
    AddRange(set, first, last);
  }

  bool AddEscape(char32_t escape, CharSet& set) {
    switch (escape) {
      case U's':
        AddCategory(set, CharClass::kWhitespace);
        return true;
      case U'S':
        AddCategory(set, CharClass::kWhitespace);
        set.negated = true;
        return true;
      case U'd':
        AddRange(set, U'0', U'9');
        return true;
      case U'p':
        AddProperty(set);
        return true;
      default:
        return false;
    }
  }

  void AddProperty(CharSet& set) {
    if (Take("{L}")) return AddCategory(set, CharClass::kLetter);
    if (Take("{M}")) return AddCategory(set, CharClass::kMark);
    if (Take("{N}")) return AddCategory(set, CharClass::kNumber);
    if (Take("{P}")) return AddCategory(set, CharClass::kPunctuation);
    if (Take("{S}")) return AddCategory(set, CharClass::kSymbol);
    Expect("{Han}");
    AddHan(set);
  }

  std::string_view pattern_;
  CharClassSet& classes_;
  size_t pos_ = 0;
};

SplitPattern::SplitPattern(std::string_view pattern, CharClassSet& classes)
    : alternatives_(PatternCompiler(pattern, classes).Compile()) {
  for (const Alternative& alternative : alternatives_) first_ |= alternative.first;
}

ClassMask SplitPattern::FirstOf(const Alternative& alternative) {
  ClassMask first = 0;
  for (const Item& item : alternative.items) {
    if (item.kind == ItemKind::kNotAhead || item.kind == ItemKind::kEnd) continue;
    first |= item.mask;
    for (const auto& option : item.options) first |= option.front();
    if (item.min > 0) return first;
  }
  return ~ClassMask{0};
}

size_t SplitPattern::Match(const Alternative& alternative, size_t item_idx, std::span<const ClassMask> masks,
                           size_t pos) {
  const std::vector<Item>& items = alternative.items;
  for (; item_idx < items.size(); ++item_idx) {
    const Item& item = items[item_idx];
    switch (item.kind) {
      case ItemKind::kEnd:
        if (pos != masks.size()) return kNoMatch;
        break;
      case ItemKind::kNotAhead:
        if (pos < masks.size() && (masks[pos] & item.mask) != 0) return kNoMatch;
        break;
      case ItemKind::kClass: {
        const size_t limit = item.max < masks.size() - pos ? pos + item.max : masks.size();
        size_t stop = pos;
        while (stop < limit && (masks[stop] & item.mask) != 0) ++stop;
        if (stop - pos < item.min) return kNoMatch;
        if (item_idx + 1 == items.size()) return stop;
        // Greedy: the longest run whose continuation matches.
        for (; stop > pos + item.min; --stop) {
          const size_t end = Match(alternative, item_idx + 1, masks, stop);
          if (end != kNoMatch) return end;
        }
        pos = stop;
        break;
      }
      case ItemKind::kOptions: {
        size_t count = 0;
        for (bool again = true; again && count < item.max;) {
          again = false;
          for (const auto& option : item.options) {
            if (option.size() > masks.size() - pos) continue;
            size_t i = 0;
            while (i < option.size() && (masks[pos + i] & option[i]) != 0) ++i;
            if (i < option.size()) continue;
            pos += i;
            ++count;
            again = true;
            break;
          }
        }
        if (count < item.min) return kNoMatch;
        break;
      }
    }
  }
  return pos;
}

void SplitPattern::Split(std::span<const ClassMask> masks, size_t begin, size_t end, std::vector<size_t>& ends) const {
  const std::span<const ClassMask> segment = masks.first(end);
  // An alternative that begins with an unbounded class and failed has failed for every start in the same run: without
  // this, long runs would cost quadratic time.
  std::array<size_t, 16> failed_until{};
  LEM_CHECK(alternatives_.size() <= failed_until.size()) << "too many alternatives";
  size_t gap = begin;
  for (size_t pos = begin; pos < end;) {
    size_t match_end = kNoMatch;
    if ((segment[pos] & first_) != 0) {
      for (size_t i = 0; i < alternatives_.size() && match_end == kNoMatch; ++i) {
        const Alternative& alternative = alternatives_[i];
        if ((segment[pos] & alternative.first) == 0 || pos < failed_until[i]) continue;
        match_end = Match(alternative, 0, segment, pos);
        const Item& head = alternative.items.front();
        if (match_end == kNoMatch && head.kind == ItemKind::kClass && head.max == kUnbounded) {
          size_t stop = pos;
          while (stop < end && (segment[stop] & head.mask) != 0) ++stop;
          failed_until[i] = stop;
        }
      }
    }
    if (match_end == kNoMatch || match_end == pos) {
      ++pos;
      continue;
    }
    if (gap < pos) ends.push_back(pos);
    ends.push_back(match_end);
    gap = pos = match_end;
  }
  if (gap < end) ends.push_back(end);
}

}  // namespace lem
