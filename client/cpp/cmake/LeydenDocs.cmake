# `cmake --build BUILD --target leyden-docs` writes BUILD/docs/html; a warning is an error.

find_package(Doxygen REQUIRED)
configure_file("${CMAKE_CURRENT_SOURCE_DIR}/Doxyfile.in" "${CMAKE_CURRENT_BINARY_DIR}/Doxyfile" @ONLY)
add_custom_target(
  leyden-docs
  COMMAND Doxygen::doxygen "${CMAKE_CURRENT_BINARY_DIR}/Doxyfile"
  COMMENT "Rendering the documentation"
  VERBATIM)
