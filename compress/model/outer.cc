#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/status/status.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/model/block.h"
#include "compress/model/decode_linear.h"
#include "compress/model/linear.h"
#include "compress/model/rms_norm.h"

namespace calipress::model {
namespace {

using arch::Role;

absl::StatusOr<at::Tensor> LoadOuter(const arch::ArchSpec& spec, Role role, const WeightSource& source) {
  for (const arch::TensorSpec& tensor : arch::OuterTensors(spec)) {
    if (tensor.role == role) return source.Load(tensor);
  }
  return DefectError("family " + spec.family + " has no " + std::string(arch::RoleName(role)));
}

}  // namespace

absl::StatusOr<Embedding> Embedding::Load(const arch::ArchSpec& spec, const WeightSource& source) {
  Embedding embedding;
  CALIPRESS_ASSIGN_OR_RETURN(embedding.weight_, LoadOuter(spec, Role::kEmbedding, source));
  return embedding;
}

at::Tensor Embedding::Forward(const at::Tensor& ids) const {
  const c10::NoGradGuard no_grad;
  return at::embedding(weight_, ids.to(weight_.device()));
}

absl::StatusOr<Head> Head::Load(const arch::ArchSpec& spec, const WeightSource& source) {
  Head head;
  head.eps_ = spec.norm_eps;
  const Role role = spec.tied_embeddings ? Role::kEmbedding : Role::kHead;
  CALIPRESS_ASSIGN_OR_RETURN(head.norm_, LoadOuter(spec, Role::kFinalNorm, source));
  CALIPRESS_ASSIGN_OR_RETURN(head.weight_, LoadOuter(spec, role, source));
  return head;
}

at::Tensor Head::Forward(const at::Tensor& hidden) const {
  const c10::NoGradGuard no_grad;
  return Linear(RmsNorm(hidden, norm_, eps_), weight_, {});
}

at::Tensor Head::Step(const at::Tensor& hidden) const {
  const c10::NoGradGuard no_grad;
  if (!CanDecode(hidden.scalar_type(), hidden.device())) return Forward(hidden);
  return UnpackRows(MultiplyRows(PackRows(RmsNorm(hidden, norm_, eps_)), weight_, {}), hidden.scalar_type());
}

}  // namespace calipress::model
