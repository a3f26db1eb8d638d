# A field that is misspelt does not compile. The same file with the right name does, so that it is
# the name that the compiler refuses.

set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
foreach(field IN ITEMS prompt promt)
  try_compile(
    leyden_compiles_${field} "${CMAKE_CURRENT_BINARY_DIR}/misspelt/${field}"
    SOURCES "${CMAKE_CURRENT_LIST_DIR}/request.cpp"
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${CMAKE_CURRENT_LIST_DIR}/../../include"
    COMPILE_DEFINITIONS "-DFIELD=${field}"
    CXX_STANDARD 20
    CXX_STANDARD_REQUIRED ON
    OUTPUT_VARIABLE leyden_output)
  if(field STREQUAL "prompt" AND NOT leyden_compiles_prompt)
    message(FATAL_ERROR "A request does not compile:\n${leyden_output}")
  endif()
endforeach()
if(leyden_compiles_promt)
  message(FATAL_ERROR "A misspelt field compiles")
endif()
if(NOT leyden_output MATCHES "promt")
  message(FATAL_ERROR "A misspelt field is refused for another reason:\n${leyden_output}")
endif()
message(STATUS "A misspelt field does not compile")
