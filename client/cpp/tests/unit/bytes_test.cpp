#include "leyden/bytes.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace leyden {
namespace {

namespace fs = std::filesystem;

/// A folder that is there for one test.
class Save : public ::testing::Test {
 protected:
  Save() { fs::create_directories(folder_); }
  ~Save() override { fs::remove_all(folder_); }

  fs::path folder_ = fs::path(::testing::TempDir()) / ("leyden-" + std::to_string(::getpid()));
  Bytes data_ = Bytes(5, std::byte{'x'});
};

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(Save, WritesAndReplaces) {
  save(folder_ / "a.png", Bytes(9, std::byte{'y'}));
  save(folder_ / "a.png", data_);
  EXPECT_EQ(text_of(folder_ / "a.png"), "xxxxx");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(Save, GoesThroughALink) {
  fs::create_symlink(folder_ / "b.png", folder_ / "a.png");
  save(folder_ / "a.png", data_);
  EXPECT_TRUE(fs::is_symlink(folder_ / "a.png"));
  EXPECT_EQ(text_of(folder_ / "b.png"), "xxxxx");
}

TEST_F(Save, SaysWhatIsWrong) {
  EXPECT_THROW(save(folder_ / "none" / "a.png", data_), std::system_error);
}

}  // namespace
}  // namespace leyden
