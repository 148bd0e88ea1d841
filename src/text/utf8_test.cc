#include "text/utf8.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

TEST(Utf8Test, DecodesWhatAppendUtf8Writes) {
  for (const char32_t value :
       {U'\0', U'a', U'\u007F', U'\u0080', U'\u07FF', U'\u0800', U'\uFFFF', U'\U00010000', U'\U0010FFFF'}) {
    std::string text;
    AppendUtf8(value, text);
    const Codepoint codepoint = DecodeCodepoint(text, 0);
    EXPECT_EQ(codepoint.value, value);
    EXPECT_EQ(codepoint.num_bytes, text.size());
    EXPECT_EQ(ClaimedUtf8Length(text[0]), text.size());
    EXPECT_TRUE(IsStableUtf8(text));
  }
}

TEST(Utf8Test, BrokenBytesBecomeOneReplacementEach) {
  EXPECT_EQ(StabiliseUtf8("a\x80z"), "a\uFFFDz");
  EXPECT_EQ(StabiliseUtf8("\xE2\x82"), "\uFFFD\uFFFD");
  EXPECT_EQ(StabiliseUtf8("\xF0\x9F\x98"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(StabiliseUtf8("\xFF\xFE"), "\uFFFD\uFFFD");
  EXPECT_EQ(StabiliseUtf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // above U+10FFFF
}

// llama.cpp takes these at face value.
TEST(Utf8Test, OverlongFormsAndSurrogates) {
  EXPECT_FALSE(IsStableUtf8("\xC1\x81"));
  EXPECT_EQ(StabiliseUtf8("\xC1\x81"), "A");
  EXPECT_TRUE(IsStableUtf8("\xED\xA0\x80"));
  EXPECT_EQ(StabiliseUtf8("\xED\xA0\x80"), "\xED\xA0\x80");
}

TEST(Utf8Test, Classes) {
  EXPECT_EQ(ClassOf(U'a'), CharClass::kLetter);
  EXPECT_EQ(ClassOf(U'漢'), CharClass::kLetter);
  EXPECT_EQ(ClassOf(U'7'), CharClass::kNumber);
  EXPECT_EQ(ClassOf(U'½'), CharClass::kNumber);
  EXPECT_EQ(ClassOf(U'\u0301'), CharClass::kMark);
  EXPECT_EQ(ClassOf(U'_'), CharClass::kPunctuation);
  EXPECT_EQ(ClassOf(U'~'), CharClass::kSymbol);
  EXPECT_EQ(ClassOf(U'\u200B'), CharClass::kControl);
  EXPECT_EQ(ClassOf(U'\0'), CharClass::kControl);
  EXPECT_EQ(ClassOf(U'\u0378'), CharClass::kUndefined);
  for (const char32_t space : {U' ', U'\t', U'\r', U'\v', U'\u0085', U'\u00A0', U'\u2028', U'\u3000'}) {
    EXPECT_EQ(ClassOf(space), CharClass::kWhitespace);
  }
}

TEST(Utf8Test, ClassesOfUnicode15_1) {
  EXPECT_EQ(ClassOf(U'\u2FFC'), CharClass::kSymbol);
  EXPECT_EQ(ClassOf(U'\u31EF'), CharClass::kSymbol);
  EXPECT_EQ(ClassOf(U'\U0002EBF0'), CharClass::kLetter);
  EXPECT_EQ(ClassOf(U'\U0002EE5E'), CharClass::kUndefined);
}

TEST(Utf8Test, CaseAndDecomposition) {
  EXPECT_EQ(ToLower(U'É'), U'é');
  EXPECT_EQ(ToLower(U'1'), U'1');
  EXPECT_EQ(DecompositionBase(U'é'), U'e');
  EXPECT_EQ(DecompositionBase(U'가'), U'\u1100');
  EXPECT_EQ(DecompositionBase(U'x'), U'x');
}

}  // namespace
}  // namespace lem
