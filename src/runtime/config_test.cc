#include "runtime/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "base/file.h"

namespace lem {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / fmt::format("lem-config-test-{}", ::getpid());
    fs::create_directories(dir_ / "lemonade");
    ::setenv("XDG_CONFIG_HOME", dir_.c_str(), 1);
  }
  void TearDown() override {
    for (const ConfigKey& key : ConfigKeys()) ::unsetenv(key.EnvironmentName().c_str());
    fs::remove_all(dir_);
  }
  fs::path dir_;
};

TEST_F(ConfigTest, HasDefaultsWithoutAFile) {
  const Result<Config> config = LoadConfig({}, {});
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->server.host, "127.0.0.1");
  EXPECT_EQ(config->server.port, 5366);
  EXPECT_EQ(config->log.level, LogLevel::kInfo);
  EXPECT_EQ(LoadConfig(dir_ / "none.toml", {}).status().code(), StatusCode::kNotFound);
}

TEST_F(ConfigTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  ASSERT_TRUE(WriteFileAtomic(dir_ / "lemonade" / "lem.toml",
                              "[server]\nport = 1\nmodels = ['a', 'b:c']\nmax_connections = 7\n[log]\nlevel = 'debug'")
                  .ok());
  ::setenv("LEM_SERVER_PORT", "2", 1);
  ::setenv("LEM_SERVER_MODELS", "x,,y", 1);
  ::setenv("LEM_LOG_LEVEL", "", 1);
  const ConfigFlag flags[] = {{"server.port", "--port", {"3"}}};
  const Result<Config> with_flag = LoadConfig({}, flags);
  ASSERT_TRUE(with_flag.ok()) << with_flag.status().ToString();
  EXPECT_EQ(with_flag->server.port, 3);
  const Result<Config> config = LoadConfig({}, {});
  EXPECT_EQ(config->server.port, 2);
  EXPECT_THAT(config->server.models, ElementsAre("x", "y"));
  EXPECT_EQ(config->server.max_connections, 7);
  EXPECT_EQ(config->server.host, "127.0.0.1");
  EXPECT_EQ(config->log.level, LogLevel::kDebug);
  ::unsetenv("LEM_SERVER_MODELS");
  EXPECT_THAT(LoadConfig({}, {})->server.models, ElementsAre("a", "b:c"));
}

TEST_F(ConfigTest, SaysWhereAndWhatIsWrong) {
  const struct {
    const char* text;
    const char* where;
    const char* what;
  } kCases[] = {
      {"[server]\nprot = 1\n",
       "f:2:1: ", "unknown key server.prot; did you mean port? (keys of [server]: host, port, "},
      {"[sever]\n",
       "f:1:2: ", "unknown section [sever]; did you mean server? (sections: server, engine, log, aliases)"},
      {"port = 1\n", "f:1:1: ", "unknown section [port]"},
      {"server = 1\n", "f:1:10: ", "server is a whole number; allowed: a section [server]"},
      {"[server]\nport = '1'\n", "f:2:8: ", "server.port is text; allowed: a whole number from 0 to 65535"},
      {"[server]\nport = 65536\n", "f:2:8: ", "server.port is 65536; allowed: a whole number from 0 to 65535"},
      {"[server]\nport = -1\n", "f:2:8: ", "server.port is -1"},
      {"[server]\nport = 1.5\n", "f:2:8: ", "server.port is a number;"},
      {"[server]\nport = nan\n", "f:2:8: ", "server.port is a number;"},
      {"[server]\nport = 9223372036854775808\n", "f:2:", ""},
      {"[server]\nhost = ''\n", "f:2:8: ", "server.host is empty; allowed: text"},
      {"[server]\nhost = true\n", "f:2:8: ", "server.host is a boolean; allowed: text"},
      {"[server]\nmodels = 'a'\n", "f:2:10: ", "server.models is text; allowed: a list of texts"},
      {"[server]\nmodels = ['a', 1]\n", "f:2:10: ", "server.models is a list that holds a whole number"},
      {"[log]\nlevel = 'loud'\n", "f:2:9: ", "log.level is \"loud\"; allowed: debug, info, warning, error, off"},
      {"[log]\nlevel = 2026-11-22\n", "f:2:9: ", "log.level is a date"},
      {"[engine]\nkv_cache_bytes = -1\n", "f:2:18: ", "allowed: a whole number from 0"},
      {"[engine]\ndeterministic = 1\n", "f:2:17: ", "deterministic is a whole number; allowed: true or false"},
      {"aliases = 1\n", "f:1:11: ", "aliases is a whole number; allowed: a section [aliases]"},
      {"[aliases]\na = 1\n", "f:2:5: ", "aliases.a is a whole number; allowed: the name of a model"},
      {"[server\n", "f:1:", ""},
  };
  for (const auto& c : kCases) {
    Config config;
    const Status status = ApplyConfigText(c.text, "f", config);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(status.message(), StartsWith(c.where));
    EXPECT_THAT(status.message(), HasSubstr(c.what));
  }
}

TEST_F(ConfigTest, AliasesAreATableOrAList) {
  Config config;
  ASSERT_TRUE(
      ApplyConfigText("[aliases]\n'gpt-*' = 'a:b'\nx = 'y'\n[server]\naliases = ['one=two']\n", "f", config).ok());
  EXPECT_THAT(config.server.aliases, ElementsAre("one=two", "gpt-*=a:b", "x=y"));
}

TEST_F(ConfigTest, NamesTheVariableOrFlagThatIsWrong) {
  ::setenv("LEM_SERVER_PORT", "80 ", 1);
  EXPECT_EQ(LoadConfig({}, {}).status().message(),
            "environment LEM_SERVER_PORT: server.port is \"80 \"; allowed: a whole number from 0 to 65535");
  ::unsetenv("LEM_SERVER_PORT");
  const ConfigFlag bad[] = {{"server.port", "--port", {"99999999999999999999"}}};
  EXPECT_THAT(LoadConfig({}, bad).status().message(), StartsWith("--port: server.port is \"99999999999999999999\""));
  const ConfigFlag twice[] = {{"server.port", "--port", {"1", "2"}}};
  EXPECT_THAT(LoadConfig({}, twice).status().message(), HasSubstr("given 2 times"));
  ::setenv("LEM_ENGINE_DETERMINISTIC", "yes", 1);
  EXPECT_THAT(LoadConfig({}, {}).status().message(), HasSubstr("\"yes\"; allowed: true or false"));
  ::unsetenv("LEM_ENGINE_DETERMINISTIC");
  const ConfigFlag models[] = {{"server.models", "--model", {"a", "b"}}};
  EXPECT_THAT(LoadConfig({}, models)->server.models, ElementsAre("a", "b"));
}

TEST_F(ConfigTest, EveryKeyCanBeSetFromEachPlace) {
  for (const ConfigKey& key : ConfigKeys()) {
    Config changed;
    const ConfigKey::Target target = key.target(changed);
    std::string word, toml;
    if (std::holds_alternative<int64_t*>(target)) {
      word = fmt::to_string(key.max - 1);
      toml = word;
    } else if (bool* const* flag = std::get_if<bool*>(&target)) {
      word = toml = **flag ? "false" : "true";
    } else if (std::holds_alternative<LogLevel*>(target)) {
      word = "off";
      toml = "'off'";
    } else {
      word = "some";
      toml = std::holds_alternative<std::string*>(target) ? "'some'" : "['some']";
    }
    const std::string section(key.name.substr(0, key.name.find('.')));
    ASSERT_TRUE(
        ApplyConfigText(fmt::format("[{}]\n{} = {}", section, key.name.substr(section.size() + 1), toml), "f", changed)
            .ok());
    ::setenv(key.EnvironmentName().c_str(), word.c_str(), 1);
    Result<Config> from_environment = LoadConfig({}, {});
    ASSERT_TRUE(from_environment.ok()) << from_environment.status().ToString();
    std::visit(
        [&](auto* in_file) {
          const ConfigKey::Target other = key.target(*from_environment);
          EXPECT_EQ(*in_file, *std::get<decltype(in_file)>(other)) << key.name;
          Config defaults;
          EXPECT_NE(*in_file, *std::get<decltype(in_file)>(key.target(defaults))) << key.name;
        },
        target);
    ::unsetenv(key.EnvironmentName().c_str());
  }
}

TEST_F(ConfigTest, SampleReadsBackAsTheDefaults) {
  Config config;
  config.server.port = 1;
  config.log.level = LogLevel::kOff;
  const std::string sample = SampleConfig();
  const Status status = ApplyConfigText(sample, "sample", config);
  ASSERT_TRUE(status.ok()) << status.ToString() << sample;
  EXPECT_EQ(config.server.port, 5366);
  EXPECT_EQ(config.log.level, LogLevel::kInfo);
  for (const ConfigKey& key : ConfigKeys()) EXPECT_THAT(sample, HasSubstr(key.EnvironmentName()));
}

}  // namespace
}  // namespace lem
