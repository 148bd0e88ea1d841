#include "text/pretokenizer_families.h"

namespace lem {
namespace {

using Strings = std::span<const std::string_view>;

#define LEM_CONTRACTION R"('(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD]))"
#define LEM_SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
#define LEM_WORD R"([^\r\n\p{L}\p{N}]?\p{L}+)"
#define LEM_PUNCTUATION R"( ?[^\s\p{L}\p{N}]+[\r\n]*)"
// Words of upper then lower case letters; letters beyond ASCII count as both.
#define LEM_CASED(letters, tail)                                                                             \
  R"([^\r\n\p{L}\p{N}]?[)" letters R"(--a-z]*[)" letters R"(--A-Z]+)" tail R"(|[^\r\n\p{L}\p{N}]?[)" letters \
  R"(--a-z]+[)" letters R"(--A-Z]*)" tail
#define LEM_OPTIONAL_CONTRACTION R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?)"
#define LEM_SLASH_PUNCTUATION R"( ?[^\s\p{L}\p{N}]+[\r\n/]*)"
#define LEM_ASCII_PUNCTUATION_WORD R"([!-/:-@\[-`{-~][A-Za-z]+)"
#define LEM_CJK_AND_KANA "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"

constexpr std::string_view kGpt2 = R"('(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
constexpr std::string_view kLlama3 = LEM_CONTRACTION "|" LEM_WORD R"(|\p{N}{1,3}|)" LEM_PUNCTUATION "|" LEM_SPACES;
constexpr std::string_view kQwen2 = LEM_CONTRACTION "|" LEM_WORD R"(|\p{N}|)" LEM_PUNCTUATION "|" LEM_SPACES;

constexpr std::string_view kDefaultRules[] = {R"([\p{P}$+<=>^~|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"};
constexpr std::string_view kDefaultNames[] = {"", "default"};

constexpr std::string_view kGpt2Rules[] = {kGpt2};
constexpr std::string_view kGpt2Names[] = {"gpt-2",      "phi-2",        "jina-es",     "jina-de",        "gigachat",
                                           "jina-v2-es", "jina-v2-de",   "a.x-4.0",     "mellum",         "modern-bert",
                                           "jina-v1-en", "jina-v2-code", "roberta-bpe", "exaone4",        "mpt",
                                           "olmo",       "jais",         "trillion",    "granite-docling"};

constexpr std::string_view kDigitGpt2Rules[] = {R"(\p{N})", kGpt2};
constexpr std::string_view kDigitGpt2Names[] = {"starcoder", "refact", "command-r",  "smollm",
                                                "codeshell", "exaone", "minerva-7b", "mellum2"};

constexpr std::string_view kLlama3Rules[] = {kLlama3};
constexpr std::string_view kLlama3Names[] = {"llama3",  "llama-v3", "llama-bpe", "falcon3",     "falcon-h1",
                                             "pixtral", "midm-2.0", "lfm2",      "jina-v5-nano"};
constexpr std::string_view kDbrxNames[] = {"dbrx", "smaug-bpe"};
constexpr std::string_view kGlm4Names[] = {"glm4", "chatglm-bpe"};

constexpr std::string_view kQwen2Rules[] = {kQwen2};
constexpr std::string_view kQwen2Names[] = {"qwen2",     "deepseek-r1-qwen", "kormo",      "f2llmv2", "megrez",
                                            "stablelm2", "hunyuan",          "solar-open", "grok-2"};

constexpr std::string_view kQwen35Rules[] = {
    LEM_CONTRACTION R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" LEM_SPACES};
constexpr std::string_view kQwen35Names[] = {"qwen35"};

constexpr std::string_view kUfakzekaRules[] = {LEM_WORD R"(|\p{N}|)" LEM_PUNCTUATION "|" LEM_SPACES};
constexpr std::string_view kUfakzekaNames[] = {"ufakzeka"};

constexpr std::string_view kLagunaRules[] = {R"([^\n]+|\n+)", kQwen2};
constexpr std::string_view kLagunaNames[] = {"laguna"};

constexpr std::string_view kMiniCpm5Rules[] = {
    R"(\p{N}{1,3})", LEM_CONTRACTION "|" LEM_WORD R"(|\p{N}+|)" LEM_PUNCTUATION "|" LEM_SPACES};
constexpr std::string_view kMiniCpm5Names[] = {"minicpm5"};

constexpr std::string_view kJais2Rules[] = {
    LEM_CONTRACTION "|" LEM_WORD R"(|\p{N}{1,3}|)" LEM_PUNCTUATION
                    R"(|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))"
                    R"(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s)"};
constexpr std::string_view kJais2Names[] = {"jais-2"};

constexpr std::string_view kBailingRules[] = {LEM_CONTRACTION "|" LEM_WORD R"(|\p{N}|)" LEM_PUNCTUATION
                                                              R"(|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr std::string_view kBailingNames[] = {"bailingmoe", "bailingmoe2", "llada-moe"};

constexpr std::string_view kSeedCoderRules[] = {LEM_CONTRACTION "|" LEM_WORD
                                                                R"(|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|)" LEM_SPACES};
constexpr std::string_view kSeedCoderNames[] = {"seed-coder"};

// The original groups the phrase as (?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+, which is the same set of strings.
constexpr std::string_view kExaoneMoeRules[] = {
    LEM_CONTRACTION
    R"(|[^\r\n\p{L}\p{N}]?\p{L}(?:[\p{L}\p{M}]| \p{L})*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr std::string_view kExaoneMoeNames[] = {"exaone-moe"};

constexpr std::string_view kTekkenRules[] = {LEM_CASED(R"(\p{L})", "") R"(|\p{N}|)" LEM_SLASH_PUNCTUATION
                                                                       "|" LEM_SPACES};
constexpr std::string_view kTekkenNames[] = {"tekken"};

constexpr std::string_view kGpt4oRules[] = {
    LEM_CASED(R"(\p{L})", LEM_OPTIONAL_CONTRACTION) R"(|\p{N}{1,3}|)" LEM_SLASH_PUNCTUATION "|" LEM_SPACES};
constexpr std::string_view kGpt4oNames[] = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"};

constexpr std::string_view kGraniteEmbedRules[] = {
    LEM_CASED(R"(\p{L}\p{M})", LEM_OPTIONAL_CONTRACTION) R"(|\p{N}{1,3}|)" LEM_SLASH_PUNCTUATION "|" LEM_SPACES};
constexpr std::string_view kGraniteEmbedNames[] = {"granite-embed-multi-97m"};

// Case is not told apart here at all.
#define LEM_UNCASED R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+)" LEM_OPTIONAL_CONTRACTION
constexpr std::string_view kTinyAyaRules[] = {kGroupNumbersByThree,
                                              LEM_UNCASED R"(|\p{N}{1,3}|)" LEM_SLASH_PUNCTUATION "|" LEM_SPACES};
constexpr std::string_view kTinyAyaNames[] = {"tiny_aya", "cohere2moe"};

constexpr std::string_view kYoutuRules[] = {
    "[\uAC00-\uD7A3\u3131-\u318E]+"
    "|[\uFF01\u2026\u201C\u201D\u2018\u2019\u2014\uFF1A\uFF1B\uFF0C\u3001-\u303F\uFE30-\uFE4F]+"
    "|[\u3105-\u312F]+|" LEM_CJK_AND_KANA,
    LEM_UNCASED R"(|\p{N}|)" LEM_SLASH_PUNCTUATION "|" LEM_SPACES};
constexpr std::string_view kYoutuNames[] = {"youtu"};

constexpr std::string_view kKimiK2Rules[] = {R"(\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{L}--\p{Han}]+)" LEM_OPTIONAL_CONTRACTION
                                             R"(|\p{N}{1,3}|)" LEM_PUNCTUATION "|" LEM_SPACES};
constexpr std::string_view kKimiK2Names[] = {"kimi-k2"};

#define LEM_DEEPSEEK_WORDS LEM_ASCII_PUNCTUATION_WORD R"(|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+)"
constexpr std::string_view kDeepSeek3Rules[] = {R"(\p{N}{1,3})", LEM_CJK_AND_KANA,
                                                LEM_DEEPSEEK_WORDS R"([\r\n]*|)" LEM_SPACES};
constexpr std::string_view kDeepSeek3Names[] = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"};

constexpr std::string_view kSparkRules[] = {R"(\p{N}{1,3})", LEM_CJK_AND_KANA,
                                            LEM_DEEPSEEK_WORDS R"(|[\r\n]|\s+(?!\S)|\s+)", R"(\p{N})"};
constexpr std::string_view kSparkNames[] = {"spark2_5"};

constexpr std::string_view kAfmoeRules[] = {
    kGroupNumbersByThree,
    "[\u4E00-\u9FFF\u3400-\u4DBF\u8C48-\uFAFF\u3040-\u309F\u30A0-\u30FF\uFF65-\uFF9F\u2F00-\u2FDF\u0E40-\u0E7F"
    "\u0E80-\u0EFF\u1780-\u17FF\u1000-\u109F\uAA60-\uAA7F\uA9E0-\uA9FF\uAC00-\uD7AF\u1100-\u11FF]+",
    LEM_DEEPSEEK_WORDS R"([\r\n]*|)" LEM_SPACES};
constexpr std::string_view kAfmoeNames[] = {"afmoe"};

#define LEM_DEEPSEEK_HAN "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+"
// Cased letters of the scripts that the first DeepSeek tokenizer lists one by one.
#define LEM_DEEPSEEK_CASED                                                                                            \
  "A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-\u0373\u0376"     \
  "\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-"     \
  "\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A"    \
  "\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4"     \
  "\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC"    \
  "\u2102\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F\u2145" \
  "-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B\uA722-"     \
  "\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-"      \
  "\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2\U000118A0-"         \
  "\U000118DF\U0001E900-\U0001E943"
constexpr std::string_view kDeepSeekLlmMarks = R"(\s?[!-/:-~)"
                                               "\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002"
                                               R"(]+)";
constexpr std::string_view kDeepSeekLlmRules[] = {
    R"([\r\n])", R"(\s?[)" LEM_DEEPSEEK_CASED R"(]+)", kDeepSeekLlmMarks, R"(\s+$)", LEM_DEEPSEEK_HAN, R"(\p{N}+)"};
constexpr std::string_view kDeepSeekLlmNames[] = {"deepseek-llm"};

constexpr std::string_view kDeepSeekCoderRules[] = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", LEM_DEEPSEEK_HAN,
                                                    R"(\p{N})"};
constexpr std::string_view kDeepSeekCoderNames[] = {"deepseek-coder"};

constexpr std::string_view kFalconRules[] = {R"([\p{P}$+<=>^~|`]+)", kGpt2, "[0-9][0-9][0-9]"};
constexpr std::string_view kFalconNames[] = {"falcon"};

#define LEM_BLOOM                              \
  R"( ?[^(\s|.,!?)"                            \
  "\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C" \
  R"()]+)"
constexpr std::string_view kBloomRules[] = {LEM_BLOOM};
constexpr std::string_view kBloomNames[] = {"poro-chat", "bloom", "gpt3-finnish"};
constexpr std::string_view kVikingRules[] = {LEM_BLOOM, R"(\p{N})"};
constexpr std::string_view kVikingNames[] = {"viking"};

constexpr std::string_view kChameleonRules[] = {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z",       R"([\t\n]|    |  )",
                                                R"(\p{N})",          R"([\p{P}!-/:-@\[-`{-~])", kGpt2};
constexpr std::string_view kChameleonNames[] = {"chameleon"};

constexpr std::string_view kSuperBpeRules[] = {R"(\p{N}+)", kCutDigitsByThree};
constexpr std::string_view kSuperBpeNames[] = {"superbpe"};

// No words at all: merges run over whole lines.
constexpr std::string_view kLineRules[] = {R"([^\n]+|\n+)"};
constexpr std::string_view kGemma4Names[] = {"gemma4", "granite-embed-multi-311m"};
constexpr std::string_view kSarvamNames[] = {"sarvam-moe"};

constexpr std::string_view kWhitespaceRules[] = {R"(\S+)"};
constexpr std::string_view kWhitespaceNames[] = {"whitespace"};

constexpr PreTokenizerTraits kPlain;
constexpr PreTokenizerTraits kIgnoreMerges{.ignore_merges = true};
constexpr PreTokenizerTraits kIgnoreMergesAddBos{.ignore_merges = true, .add_bos = true};
constexpr PreTokenizerTraits kGemma4Traits{
    .byte_level = false, .escapes_spaces = true, .merges_newline_runs = true, .always_adds_bos = true};
constexpr PreTokenizerTraits kSarvamTraits{.byte_level = false, .escapes_spaces = true};
constexpr PreTokenizerTraits kWhitespaceTraits{.byte_level = false};

constexpr PreTokenizerFamily kFamilies[] = {
    {kDefaultNames, kDefaultRules, kPlain},
    {kGpt2Names, kGpt2Rules, kPlain},
    {kDigitGpt2Names, kDigitGpt2Rules, kPlain},
    {kLlama3Names, kLlama3Rules, kIgnoreMergesAddBos},
    {kDbrxNames, kLlama3Rules, kPlain},
    {kGlm4Names, kLlama3Rules, {.no_default_bos = true}},
    {kQwen2Names, kQwen2Rules, kPlain},
    {kQwen35Names, kQwen35Rules, kPlain},
    {kUfakzekaNames, kUfakzekaRules, kPlain},
    {kLagunaNames, kLagunaRules, kPlain},
    {kMiniCpm5Names, kMiniCpm5Rules, kIgnoreMerges},
    {kJais2Names, kJais2Rules, kPlain},
    {kBailingNames, kBailingRules, kPlain},
    {kSeedCoderNames, kSeedCoderRules, kPlain},
    {kExaoneMoeNames, kExaoneMoeRules, kPlain},
    {kTekkenNames, kTekkenRules, kIgnoreMergesAddBos},
    {kGpt4oNames, kGpt4oRules, kPlain},
    {kGraniteEmbedNames, kGraniteEmbedRules, kIgnoreMerges},
    {kTinyAyaNames, kTinyAyaRules, kPlain},
    {kYoutuNames, kYoutuRules, kIgnoreMerges},
    {kKimiK2Names, kKimiK2Rules, kPlain},
    {kDeepSeek3Names, kDeepSeek3Rules, kPlain},
    {kSparkNames, kSparkRules, kPlain},
    {kAfmoeNames, kAfmoeRules, kPlain},
    {kDeepSeekLlmNames, kDeepSeekLlmRules, kPlain},
    {kDeepSeekCoderNames, kDeepSeekCoderRules, kPlain},
    {kFalconNames, kFalconRules, kPlain},
    {kBloomNames, kBloomRules, kPlain},
    {kVikingNames, kVikingRules, kPlain},
    {kChameleonNames, kChameleonRules, {.add_bos = true}},
    {kSuperBpeNames, kSuperBpeRules, kPlain},
    {kGemma4Names, kLineRules, kGemma4Traits},
    {kSarvamNames, kLineRules, kSarvamTraits},
    {kWhitespaceNames, kWhitespaceRules, kWhitespaceTraits},
};

}  // namespace

std::span<const PreTokenizerFamily> PreTokenizerFamilies() { return kFamilies; }

}  // namespace lem
