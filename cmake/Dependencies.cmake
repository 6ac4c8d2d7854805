# Where things come from: Debian packages by find_package or pkg-config; wheels and built tools under CALIPRESS_DEPS
# (made by `./dev setup`). Nothing is downloaded at configure time.
set(CALIPRESS_DEPS "$ENV{HOME}/.cache/calipress" CACHE PATH "What ./dev setup made: venv, tokenizers, torch headers")
set(CALIPRESS_SITE "${CALIPRESS_DEPS}/venv/lib/python3.11/site-packages" CACHE PATH "site-packages of the venv")

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(LibLZMA REQUIRED)
find_package(GTest REQUIRED)
find_package(prometheus-cpp REQUIRED CONFIG)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)
find_program(PROTOC protoc REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

add_library(calipress::absl_status INTERFACE IMPORTED)
target_link_libraries(calipress::absl_status INTERFACE absl::status absl::statusor absl::strings absl::str_format)

add_library(calipress::grpc INTERFACE IMPORTED)
target_link_libraries(calipress::grpc INTERFACE PkgConfig::GRPC grpc++_reflection)

# Arrow C++ from the pyarrow wheel.
add_library(calipress::arrow INTERFACE IMPORTED)
target_include_directories(calipress::arrow SYSTEM INTERFACE ${CALIPRESS_SITE}/pyarrow/include)
target_link_options(calipress::arrow INTERFACE -Wl,-rpath,${CALIPRESS_SITE}/pyarrow)
target_link_libraries(calipress::arrow INTERFACE
  ${CALIPRESS_SITE}/pyarrow/libparquet.so.2600 ${CALIPRESS_SITE}/pyarrow/libarrow.so.2600)
if(EXISTS ${CALIPRESS_SITE}/pyarrow/libarrow_s3.so.2600)
  target_link_libraries(calipress::arrow INTERFACE
    -Wl,--push-state,--no-as-needed ${CALIPRESS_SITE}/pyarrow/libarrow_s3.so.2600 -Wl,--pop-state)
endif()

# Hugging Face tokenizers behind a C ABI (compress/tokenizer/rust), built by ./dev setup.
add_library(calipress::tokenizers_c STATIC IMPORTED)
set_target_properties(calipress::tokenizers_c PROPERTIES
  IMPORTED_LOCATION ${CALIPRESS_DEPS}/tokenizers/libcalipress_tokenizers.a)
target_link_libraries(calipress::tokenizers_c INTERFACE Threads::Threads ${CMAKE_DL_LIBS} m)

if(CALIPRESS_TORCH)
  # The wheel's headers without fmt/ and google/, which would shadow the system's (docs/dependencies.md).
  set(torch_include ${CALIPRESS_DEPS}/torch-include)
  if(NOT EXISTS ${torch_include}/ATen/ATen.h)
    message(FATAL_ERROR "no torch headers in ${torch_include}: run ./dev setup")
  endif()
  set(torch_lib ${CALIPRESS_SITE}/torch/lib)
  add_library(calipress::torch INTERFACE IMPORTED)
  target_include_directories(calipress::torch SYSTEM INTERFACE ${torch_include} ${torch_include}/torch/csrc/api/include)
  target_compile_definitions(calipress::torch INTERFACE USE_C10D_GLOO USE_DISTRIBUTED)
  target_link_options(calipress::torch INTERFACE -Wl,-rpath,${torch_lib})
  target_compile_options(calipress::torch INTERFACE -fopenmp)
  target_link_libraries(calipress::torch INTERFACE
    ${torch_lib}/libtorch_cpu.so ${torch_lib}/libc10.so ${torch_lib}/libgomp.so.1)
endif()
