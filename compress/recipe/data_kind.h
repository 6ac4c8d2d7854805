#pragma once

#include <string_view>

namespace calipress::recipe {

// What the name of a file of documents or ids says about its content. A URI's query is not part of the name.
enum class DataKind { kText, kJsonLines, kTokenIds, kUnknown };  // .txt, .jsonl, .npy
DataKind DataKindOf(std::string_view uri);

}  // namespace calipress::recipe
