#include "server/assembly/output_claim.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string_view>
#include <thread>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "compress/checkpoint/publication/source_files.h"
#include "nlohmann/json.hpp"

namespace calipress::assembly {
namespace {

constexpr int64_t kLargestClaim = 64 << 10;
constexpr std::string_view kPrefix = "claim-", kSuffix = ".json";
// Far above what one shard's move takes, and what clocks of two machines differ by.
constexpr std::chrono::hours kStaleAfter(1);
constexpr std::chrono::minutes kRenewAfter(5);

int64_t SecondsOf(Clock::WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

absl::Status DeleteIfThere(storage::ObjectStore& store, const std::string& uri) {
  const absl::Status status = store.Delete(uri);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace

OutputClaim::OutputClaim(storage::ObjectStore& store, const v1::CompressionJob& job, const Clock& clock,
                         Patience patience)
    : store_(store),
      job_(job),
      clock_(clock),
      patience_(patience),
      folder_(storage::JoinUri(job.output(), "_calipress")),
      uri_(storage::JoinUri(folder_, std::string(kPrefix) + job.uid() + std::string(kSuffix))) {}

absl::StatusOr<bool> OutputClaim::IsThere() const { return store_.Exists(uri_); }

absl::Status OutputClaim::Write() {
  written_ = clock_.Wall();
  const nlohmann::json claim = {{"job", job_.name()}, {"renewed_seconds", SecondsOf(written_)}};
  return store_.WriteAll(uri_, claim.dump(2) + "\n");
}

absl::StatusOr<OutputClaim::Other> OutputClaim::Read(const std::string& uri, const std::string& uid,
                                                     bool staged) const {
  Other other{uri, uid, absl::StrCat("the job with uid ", uid), /*stale=*/true};
  const auto text = store_.ReadAll(uri, kLargestClaim);
  // Withdrawn since it was listed.
  if (absl::IsNotFound(text.status())) return other;
  if (!text.ok()) return text.status();
  const auto claim = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!claim.is_object() || !claim.contains("job") || !claim["job"].is_string() || !claim.contains("renewed_seconds") ||
      !claim["renewed_seconds"].is_number_integer()) {
    return other;
  }
  other.name = BoundedText(claim["job"].get<std::string>(), 100);
  const int64_t age = SecondsOf(clock_.Wall()) - claim["renewed_seconds"].get<int64_t>();
  other.stale = !staged || age > std::chrono::seconds(kStaleAfter).count();
  return other;
}

absl::StatusOr<std::vector<OutputClaim::Other>> OutputClaim::Others() const {
  std::map<std::string, std::string> claims;  // uid -> URI
  std::set<std::string> staged;               // uids that have a staging folder
  CALIPRESS_ASSIGN_OR_RETURN(const auto objects, store_.List(folder_));
  for (const storage::ObjectInfo& object : objects) {
    const std::string name = checkpoint::NameBelow(folder_, object.uri);
    if (const size_t slash = name.find('/'); slash != std::string::npos) {
      staged.insert(name.substr(0, slash));
    } else if (name.starts_with(kPrefix) && name.ends_with(kSuffix) && name.size() > kPrefix.size() + kSuffix.size()) {
      claims[name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size())] = object.uri;
    }
  }
  claims.erase(job_.uid());
  std::vector<Other> others;
  for (const auto& [uid, uri] : claims) {
    CALIPRESS_ASSIGN_OR_RETURN(others.emplace_back(), Read(uri, uid, staged.contains(uid)));
  }
  return others;
}

absl::StatusOr<std::vector<OutputClaim::Other>> OutputClaim::LiveOthers() const {
  CALIPRESS_ASSIGN_OR_RETURN(std::vector<Other> others, Others());
  std::erase_if(others, [](const Other& other) { return other.stale; });
  return others;
}

absl::Status OutputClaim::Lost(const std::string& to) const {
  return PreconditionError(reason::kOutputExists,
                           absl::StrCat(to, " publishes into ", storage::RedactUri(job_.output()),
                                        " too, and came first; this checkpoint is not published. Choose another "
                                        "folder, and submit again"));
}

absl::Status OutputClaim::LoseTo(const Other& other) {
  CALIPRESS_RETURN_IF_ERROR(Remove());
  return Lost(other.name);
}

absl::Status OutputClaim::WaitForOthers(bool begun) {
  const int looks = begun ? 2 * patience_.looks : patience_.looks;
  for (int look = 0;; ++look) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::vector<Other> others, LiveOthers());
    if (others.empty()) return absl::OkStatus();
    const bool yields = !begun && std::any_of(others.begin(), others.end(),
                                              [this](const Other& other) { return other.uid < job_.uid(); });
    // One that stays was taken before this one was written.
    if (yields || look >= looks) return LoseTo(others.front());
    std::this_thread::sleep_for(std::chrono::duration<double>(patience_.pause_seconds));
  }
}

absl::Status OutputClaim::Take(bool begun) {
  CALIPRESS_ASSIGN_OR_RETURN(const bool there, IsThere());
  if (begun && !there) return Lost("another job");
  if (!begun) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::vector<Other> others, LiveOthers());
    if (!others.empty()) return LoseTo(others.front());
  }
  CALIPRESS_RETURN_IF_ERROR(Write());
  return WaitForOthers(begun);
}

absl::Status OutputClaim::RemoveStale() {
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<Other> others, Others());
  for (const Other& other : others) {
    if (other.stale) CALIPRESS_RETURN_IF_ERROR(DeleteIfThere(store_, other.uri));
  }
  return absl::OkStatus();
}

absl::Status OutputClaim::Keep() {
  CALIPRESS_ASSIGN_OR_RETURN(const bool there, IsThere());
  if (!there) return Lost("another job");
  return clock_.Wall() - written_ < kRenewAfter ? absl::OkStatus() : Write();
}

absl::Status OutputClaim::Confirm() {
  CALIPRESS_RETURN_IF_ERROR(Keep());
  return WaitForOthers(/*begun=*/true);
}

absl::Status OutputClaim::Remove() { return DeleteIfThere(store_, uri_); }

}  // namespace calipress::assembly
