// For tests: a machine's sysfs and procfs as files in a temporary folder, made from
// tests/data/telemetry/<machine>.tree. One text file a machine keeps links and hundreds of tiny files readable; a test
// may change or remove them.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/file.h"

namespace lem {

class RecordedTree {
 public:
  // An empty machine for the empty name.
  explicit RecordedTree(std::string_view machine) {
    std::string folder = std::filesystem::temp_directory_path() / "lem-machine-XXXXXX";
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    root_ = folder;
    ::chmod(root_.c_str(), 0755);  // tests of permissions look in as another user
    if (!machine.empty()) Unpack(std::filesystem::path(LEM_SOURCE_DIR) / "tests/data/telemetry" / machine);
  }
  ~RecordedTree() { std::filesystem::remove_all(root_); }
  RecordedTree(const RecordedTree&) = delete;
  RecordedTree& operator=(const RecordedTree&) = delete;

  const std::filesystem::path& root() const { return root_; }

  void Write(std::string_view path, std::string_view content) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path, std::ios::binary) << content;
  }
  void Link(std::string_view path, std::string_view target) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::filesystem::create_symlink(target, root_ / path);
  }
  void Remove(std::string_view path) const { EXPECT_GT(std::filesystem::remove_all(root_ / path), 0u) << path; }

 private:
  void Unpack(std::filesystem::path file) const {
    file += ".tree";
    std::ifstream lines(file);
    EXPECT_TRUE(lines.is_open()) << file;
    for (std::string line; std::getline(lines, line);) {
      if (line.empty() || line.front() == '#') continue;
      if (const size_t arrow = line.find(" -> "); arrow != std::string::npos) {
        Link(line.substr(0, arrow), line.substr(arrow + 4));
        continue;
      }
      const size_t colon = line.find(": ");
      ASSERT_NE(colon, std::string::npos) << line;
      std::string content = line.substr(colon + 2);
      for (size_t at; (at = content.find("\\n")) != std::string::npos;) content.replace(at, 2, "\n");
      if (!content.ends_with('\n')) content += '\n';
      Write(line.substr(0, colon), content);
    }
  }

  std::filesystem::path root_;
};

}  // namespace lem
