#include "compress/storage/text_column.h"

#include <exception>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "arrow/array.h"
#include "arrow/memory_pool.h"
#include "arrow/record_batch.h"
#include "arrow/type.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/storage/arrow_input.h"
#include "parquet/arrow/reader.h"
#include "parquet/arrow/schema.h"
#include "parquet/file_reader.h"
#include "parquet/properties.h"

namespace calipress::storage {
namespace {

// Of Arrow's own for one file: a damaged or hostile one may ask for anything.
constexpr int64_t kMemoryLimit = int64_t{2} << 30;
constexpr int64_t kBatchRows = 1024;
constexpr size_t kNamesShown = 10;

absl::Status FileError(const std::string& why) { return UserError(reason::kInvalidCalibrationData, why); }

absl::Status Unreadable(const ArrowInput& input, const std::string& why) {
  if (!input.status().ok()) return input.status();
  return FileError(absl::StrCat("cannot be read as Parquet: ", why.substr(0, 300)));
}

// The place of a top-level column among the file's leaves.
absl::StatusOr<int> FindColumn(const parquet::FileMetaData& metadata, const std::string& name) {
  const parquet::SchemaDescriptor& schema = *metadata.schema();
  std::vector<std::string> names;
  for (int i = 0; i < schema.num_columns(); ++i) {
    const auto path = schema.Column(i)->path()->ToDotVector();
    if (path.size() == 1 && path[0] == name) return i;
    if (names.size() < kNamesShown && path[0].size() <= 40) names.push_back(path[0]);
  }
  return FileError(absl::StrCat("has no column '", name, "'; its columns are ", absl::StrJoin(names, ", "),
                                ". Set `field` to the one with the text"));
}

template <typename Array>
absl::Status Rows(const arrow::Array& array, int64_t before,
                  const std::function<absl::Status(std::string_view, int64_t)>& row) {
  const auto& texts = static_cast<const Array&>(array);
  for (int64_t i = 0; i < texts.length(); ++i) {
    const std::string_view text = texts.IsNull(i) ? std::string_view() : std::string_view(texts.GetView(i));
    CALIPRESS_RETURN_IF_ERROR(row(text, before + i + 1));
  }
  return absl::OkStatus();
}

absl::Status BatchRows(const arrow::Array& array, const std::string& column, int64_t before,
                       const std::function<absl::Status(std::string_view, int64_t)>& row);

// Texts that are stored once each, and rows that say which.
absl::Status CodedRows(const arrow::DictionaryArray& coded, const std::string& column, int64_t before,
                       const std::function<absl::Status(std::string_view, int64_t)>& row) {
  std::vector<std::string_view> texts(coded.dictionary()->length());
  CALIPRESS_RETURN_IF_ERROR(
      BatchRows(*coded.dictionary(), column, 0, [&](std::string_view text, int64_t number) -> absl::Status {
        texts[number - 1] = text;
        return absl::OkStatus();
      }));
  for (int64_t i = 0; i < coded.length(); ++i) {
    const std::string_view text = coded.IsNull(i) ? std::string_view() : texts.at(coded.GetValueIndex(i));
    CALIPRESS_RETURN_IF_ERROR(row(text, before + i + 1));
  }
  return absl::OkStatus();
}

absl::Status BatchRows(const arrow::Array& array, const std::string& column, int64_t before,
                       const std::function<absl::Status(std::string_view, int64_t)>& row) {
  switch (array.type_id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return Rows<arrow::BinaryArray>(array, before, row);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return Rows<arrow::LargeBinaryArray>(array, before, row);
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
      return Rows<arrow::BinaryViewArray>(array, before, row);
    case arrow::Type::DICTIONARY:
      return CodedRows(static_cast<const arrow::DictionaryArray&>(array), column, before, row);
    default:
      return FileError(
          absl::StrCat("column '", column, "' holds ", array.type()->ToString().substr(0, 60), "; it must hold texts"));
  }
}

absl::Status ReadAll(ArrowInput& input, std::shared_ptr<ArrowInput> shared, const std::string& column,
                     const std::function<absl::Status(std::string_view, int64_t)>& row) {
  arrow::CappedMemoryPool pool(arrow::default_memory_pool(), kMemoryLimit);
  parquet::ReaderProperties properties(&pool);
  properties.enable_buffered_stream();
  parquet::ArrowReaderProperties arrow_properties(/*use_threads=*/false);
  arrow_properties.set_batch_size(kBatchRows);
  arrow_properties.set_pre_buffer(false);
  parquet::arrow::FileReaderBuilder builder;
  arrow::Status status = builder.Open(std::move(shared), properties);
  if (!status.ok()) return Unreadable(input, status.message());
  CALIPRESS_ASSIGN_OR_RETURN(const int place, FindColumn(*builder.raw_reader()->metadata(), column));
  builder.memory_pool(&pool)->properties(arrow_properties);
  auto reader = builder.Build();
  if (!reader.ok()) return Unreadable(input, reader.status().message());
  std::vector<int> groups((*reader)->num_row_groups());
  for (size_t i = 0; i < groups.size(); ++i) groups[i] = static_cast<int>(i);
  auto batches = (*reader)->GetRecordBatchReader(groups, {place});
  if (!batches.ok()) return Unreadable(input, batches.status().message());
  int64_t before = 0;
  while (true) {
    auto batch = (*batches)->Next();
    if (!batch.ok()) return Unreadable(input, batch.status().message());
    if (*batch == nullptr) return absl::OkStatus();
    status = (*batch)->Validate();
    if (!status.ok()) return Unreadable(input, status.message());
    CALIPRESS_RETURN_IF_ERROR(BatchRows(*(*batch)->column(0), column, before, row));
    before += (*batch)->num_rows();
  }
}

}  // namespace

absl::Status ForEachText(ObjectReader& parquet, const std::string& column,
                         const std::function<absl::Status(std::string_view text, int64_t number)>& row) {
  auto input = std::make_shared<ArrowInput>(parquet);
  // Parquet's own reader throws.
  try {
    return ReadAll(*input, input, column, row);
  } catch (const std::exception& error) {
    return Unreadable(*input, error.what());
  }
}

}  // namespace calipress::storage
