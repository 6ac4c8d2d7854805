#include "compress/checkpoint/spqr_layout.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "compress/base/status_macros.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/corrupt.h"

namespace calipress::checkpoint {
namespace {

// Columns fit 16 bits in most models; then an outlier costs 32 bits with its value.
constexpr int64_t kNarrowColumns = 65536;

Dtype ColumnDtype(int64_t in) { return in <= kNarrowColumns ? Dtype::kI16 : Dtype::kI32; }

int64_t Product(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (int64_t size : shape) product *= size;
  return product;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

// PackRows takes codes around zero.
std::vector<int32_t> Pack(const uint8_t* codes, int64_t rows, int64_t columns, int bits) {
  std::vector<int8_t> row(columns);
  const int64_t words_per_row = PackedWords(columns, bits);
  std::vector<int32_t> words(rows * words_per_row);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      row[c] = static_cast<int8_t>(static_cast<int>(codes[r * columns + c]) - (1 << (bits - 1)));
    }
    PackRows(row.data(), 1, columns, bits, words.data() + r * words_per_row);
  }
  return words;
}

std::vector<uint8_t> Unpack(const std::vector<char>& bytes, int64_t rows, int64_t columns, int bits) {
  std::vector<int32_t> words(bytes.size() / sizeof(int32_t));
  std::memcpy(words.data(), bytes.data(), words.size() * sizeof(int32_t));
  std::vector<int8_t> signed_codes(rows * columns);
  UnpackRows(words.data(), rows, columns, bits, signed_codes.data());
  std::vector<uint8_t> codes(signed_codes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<uint8_t>(static_cast<int>(signed_codes[i]) + (1 << (bits - 1)));
  }
  return codes;
}

// The tensors of one linear as the file has them, checked one by one.
class Decoder {
 public:
  Decoder(std::string_view module, const SpqrTensorReader& read) : module_(module), read_(read) {}

  absl::StatusOr<SpqrTensorBytes> Take(const std::string& name, const std::vector<int64_t>& shape) {
    CALIPRESS_ASSIGN_OR_RETURN(std::optional<SpqrTensorBytes> tensor, read_(name));
    if (!tensor) return Broken(name, "is missing; config.json says that the linear is in SpQR's layout");
    if (tensor->shape != shape) {
      return Broken(name, "has shape " + ShapeText(tensor->shape) + "; it should be " + ShapeText(shape));
    }
    if (static_cast<int64_t>(tensor->bytes.size()) != Product(shape) * DtypeBytes(tensor->dtype)) {
      return Broken(name, "is cut short");
    }
    return *std::move(tensor);
  }

  absl::StatusOr<std::vector<char>> Take(const std::string& name, Dtype dtype, const std::vector<int64_t>& shape) {
    CALIPRESS_ASSIGN_OR_RETURN(SpqrTensorBytes tensor, Take(name, shape));
    if (tensor.dtype != dtype) {
      return Broken(name,
                    "is " + std::string(DtypeName(tensor.dtype)) + "; it should be " + std::string(DtypeName(dtype)));
    }
    return std::move(tensor.bytes);
  }

  absl::Status Broken(const std::string& name, const std::string& what) const {
    return Corrupt("tensor " + module_ + "." + name + " " + what);
  }

 private:
  const std::string module_;
  const SpqrTensorReader& read_;
};

std::vector<int32_t> Words(const std::vector<char>& bytes) {
  std::vector<int32_t> words(bytes.size() / sizeof(int32_t));
  std::memcpy(words.data(), bytes.data(), words.size() * sizeof(int32_t));
  return words;
}

bool IsPermutation(const std::vector<int32_t>& order) {
  std::vector<bool> seen(order.size());
  for (const int32_t column : order) {
    if (column < 0 || static_cast<size_t>(column) >= order.size() || seen[column]) return false;
    seen[column] = true;
  }
  return true;
}

absl::Status DecodeOutliers(Decoder& decoder, SpqrLinear& linear) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto offset_bytes, decoder.Take("outlier_offsets", Dtype::kI32, {linear.out + 1}));
  linear.outlier_offsets = Words(offset_bytes);
  int64_t last = 0;
  for (int64_t r = 0; r <= linear.out; ++r) {
    const int64_t offset = linear.outlier_offsets[r];
    if (offset < last || offset - last > linear.in || (r == 0 && offset != 0)) {
      return decoder.Broken("outlier_offsets", "does not ascend from 0 by at most the columns of a row");
    }
    last = offset;
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto columns, decoder.Take("outlier_columns", ColumnDtype(linear.in), {last}));
  if (ColumnDtype(linear.in) == Dtype::kI32) {
    linear.outlier_columns = Words(columns);
  } else {
    std::vector<uint16_t> narrow(last);
    std::memcpy(narrow.data(), columns.data(), columns.size());
    linear.outlier_columns.assign(narrow.begin(), narrow.end());
  }
  for (int64_t r = 0; r < linear.out; ++r) {
    int64_t before = -1;
    for (int32_t i = linear.outlier_offsets[r]; i < linear.outlier_offsets[r + 1]; ++i) {
      if (linear.outlier_columns[i] <= before || linear.outlier_columns[i] >= linear.in) {
        return decoder.Broken("outlier_columns", "has columns of a row that do not ascend or lie beyond the weight");
      }
      before = linear.outlier_columns[i];
    }
  }
  CALIPRESS_ASSIGN_OR_RETURN(linear.outlier_values, decoder.Take("outlier_values", linear.dtype, {last}));
  return absl::OkStatus();
}

}  // namespace

SpqrView SpqrLinear::View() const {
  SpqrView view;
  view.scheme = scheme;
  view.out = out;
  view.in = in;
  view.dtype = dtype;
  view.order = scheme.act_order ? order.data() : nullptr;
  view.codes = codes.data();
  view.scale_codes = scale_codes.data();
  view.zero_codes = zero_codes.data();
  view.scale_steps = scale_grid.data();
  view.scale_lows = scale_grid.data() + scale_grid.size() / 2;
  view.zero_steps = zero_grid.data();
  view.zero_lows = zero_grid.data() + zero_grid.size() / 2;
  view.outlier_offsets = outlier_offsets.data();
  view.outlier_columns = outlier_columns.data();
  view.outlier_values = outlier_values.data();
  return view;
}

std::vector<TensorPlan> SpqrLinearPlan(std::string_view module, int64_t out, int64_t in, const SpqrScheme& scheme,
                                       Dtype dtype, int64_t outliers) {
  const std::string prefix = std::string(module) + ".";
  const int64_t groups = in / scheme.group_size;
  const int64_t runs = (out + scheme.scale_group_size - 1) / scheme.scale_group_size;
  std::vector<TensorPlan> plan;
  plan.push_back({prefix + "weight_packed", Dtype::kI32, {out, PackedWords(in, scheme.bits)}});
  plan.push_back({prefix + "weight_shape", Dtype::kI64, {2}});
  if (scheme.act_order) plan.push_back({prefix + "weight_order", Dtype::kI32, {in}});
  plan.push_back({prefix + "scale_packed", Dtype::kI32, {PackedWords(out * groups, scheme.scale_bits)}});
  plan.push_back({prefix + "zero_packed", Dtype::kI32, {PackedWords(out * groups, scheme.zero_bits)}});
  plan.push_back({prefix + "scale_grid", dtype, {2, runs, groups}});
  plan.push_back({prefix + "zero_grid", dtype, {2, runs, groups}});
  plan.push_back({prefix + "outlier_offsets", Dtype::kI32, {out + 1}});
  plan.push_back({prefix + "outlier_columns", ColumnDtype(in), {outliers}});
  plan.push_back({prefix + "outlier_values", dtype, {outliers}});
  return plan;
}

absl::Status EncodeSpqr(const SpqrView& view,
                        const std::function<absl::Status(const void* data, int64_t bytes)>& sink) {
  const int64_t groups = view.Groups(), cells = view.Runs() * groups * DtypeBytes(view.dtype);
  const auto put_words = [&](const std::vector<int32_t>& words) {
    return sink(words.data(), static_cast<int64_t>(words.size() * sizeof(int32_t)));
  };
  CALIPRESS_RETURN_IF_ERROR(put_words(Pack(view.codes, view.out, view.in, view.scheme.bits)));
  const int64_t shape[2] = {view.out, view.in};
  CALIPRESS_RETURN_IF_ERROR(sink(shape, sizeof shape));
  if (view.scheme.act_order) {
    std::vector<int32_t> order(view.in);
    for (int64_t i = 0; i < view.in; ++i) order[i] = view.order == nullptr ? static_cast<int32_t>(i) : view.order[i];
    CALIPRESS_RETURN_IF_ERROR(put_words(order));
  }
  CALIPRESS_RETURN_IF_ERROR(put_words(Pack(view.scale_codes, 1, view.out * groups, view.scheme.scale_bits)));
  CALIPRESS_RETURN_IF_ERROR(put_words(Pack(view.zero_codes, 1, view.out * groups, view.scheme.zero_bits)));
  for (const void* grid : {view.scale_steps, view.scale_lows, view.zero_steps, view.zero_lows}) {
    CALIPRESS_RETURN_IF_ERROR(sink(grid, cells));
  }
  CALIPRESS_RETURN_IF_ERROR(sink(view.outlier_offsets, (view.out + 1) * static_cast<int64_t>(sizeof(int32_t))));
  const int64_t count = view.Outliers();
  if (ColumnDtype(view.in) == Dtype::kI32) {
    CALIPRESS_RETURN_IF_ERROR(sink(view.outlier_columns, count * static_cast<int64_t>(sizeof(int32_t))));
  } else {
    std::vector<uint16_t> narrow(view.outlier_columns, view.outlier_columns + count);
    CALIPRESS_RETURN_IF_ERROR(sink(narrow.data(), count * static_cast<int64_t>(sizeof(uint16_t))));
  }
  return sink(view.outlier_values, count * DtypeBytes(view.dtype));
}

absl::StatusOr<SpqrLinear> DecodeSpqr(std::string_view module, int64_t out, int64_t in, const SpqrScheme& scheme,
                                      const SpqrTensorReader& read) {
  Decoder decoder(module, read);
  if (out < 1 || in < 1 || in % scheme.group_size != 0 || out > std::numeric_limits<int32_t>::max() ||
      in > std::numeric_limits<int32_t>::max()) {
    return decoder.Broken("weight", "has " + std::to_string(in) + " columns, which groups of " +
                                        std::to_string(scheme.group_size) + " do not divide");
  }
  SpqrLinear linear;
  linear.scheme = scheme;
  linear.out = out;
  linear.in = in;
  const int64_t groups = in / scheme.group_size;
  const int64_t runs = (out + scheme.scale_group_size - 1) / scheme.scale_group_size;
  CALIPRESS_ASSIGN_OR_RETURN(const auto shape, decoder.Take("weight_shape", Dtype::kI64, {2}));
  int64_t stored[2];
  std::memcpy(stored, shape.data(), sizeof stored);
  if (stored[0] != out || stored[1] != in) {
    return decoder.Broken("weight_shape", "says " + ShapeText({stored[0], stored[1]}) +
                                              "; by config.json the linear has " + ShapeText({out, in}));
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto packed,
                             decoder.Take("weight_packed", Dtype::kI32, {out, PackedWords(in, scheme.bits)}));
  linear.codes = Unpack(packed, out, in, scheme.bits);
  if (scheme.act_order) {
    CALIPRESS_ASSIGN_OR_RETURN(const auto order, decoder.Take("weight_order", Dtype::kI32, {in}));
    linear.order = Words(order);
    if (!IsPermutation(linear.order)) return decoder.Broken("weight_order", "is no permutation of the columns");
  }
  const int64_t cells = out * groups;
  CALIPRESS_ASSIGN_OR_RETURN(const auto scales,
                             decoder.Take("scale_packed", Dtype::kI32, {PackedWords(cells, scheme.scale_bits)}));
  linear.scale_codes = Unpack(scales, 1, cells, scheme.scale_bits);
  CALIPRESS_ASSIGN_OR_RETURN(const auto zeros,
                             decoder.Take("zero_packed", Dtype::kI32, {PackedWords(cells, scheme.zero_bits)}));
  linear.zero_codes = Unpack(zeros, 1, cells, scheme.zero_bits);
  CALIPRESS_ASSIGN_OR_RETURN(SpqrTensorBytes scale_grid, decoder.Take("scale_grid", {2, runs, groups}));
  linear.dtype = scale_grid.dtype;
  if (linear.dtype != Dtype::kBF16 && linear.dtype != Dtype::kF16 && linear.dtype != Dtype::kF32) {
    return decoder.Broken("scale_grid",
                          "is " + std::string(DtypeName(linear.dtype)) + "; it should be BF16, F16 or F32");
  }
  linear.scale_grid = std::move(scale_grid.bytes);
  CALIPRESS_ASSIGN_OR_RETURN(linear.zero_grid, decoder.Take("zero_grid", linear.dtype, {2, runs, groups}));
  CALIPRESS_RETURN_IF_ERROR(DecodeOutliers(decoder, linear));
  return linear;
}

}  // namespace calipress::checkpoint
