# CALIPRESS_REVISION: the commit that is built, or "unknown" outside of git. Every commit configures again, so that the
# programs and the CUDA module, which are built apart, agree on it.
execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} rev-parse --short=12 HEAD
  OUTPUT_VARIABLE CALIPRESS_REVISION OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(CALIPRESS_REVISION)
  execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} rev-parse --path-format=absolute --git-path logs/HEAD
    OUTPUT_VARIABLE head_log OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(EXISTS "${head_log}")
    set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${head_log})
  endif()
else()
  set(CALIPRESS_REVISION unknown)
endif()
