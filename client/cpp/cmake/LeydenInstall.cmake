# `cmake --install` and `find_package(leyden-client)`.

set(leyden_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/leyden-client")

install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/leyden"
                  "${CMAKE_CURRENT_BINARY_DIR}/include/leyden" "${leyden_stubs_dir}/leyden"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.pb.h")
install(TARGETS leyden_client leyden_stubs leyden_status_details EXPORT leyden-client-targets
        RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT leyden-client-targets NAMESPACE leyden:: DESTINATION "${leyden_package_dir}")
configure_package_config_file(
  "${CMAKE_CURRENT_SOURCE_DIR}/cmake/leyden-client-config.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/leyden-client-config.cmake"
  INSTALL_DESTINATION "${leyden_package_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/leyden-client-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/leyden-client-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/leyden-client-config-version.cmake"
              "${CMAKE_CURRENT_SOURCE_DIR}/cmake/LeydenGrpc.cmake"
        DESTINATION "${leyden_package_dir}")
install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE" TYPE DOC)
