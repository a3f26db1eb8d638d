# Finds gRPC and protobuf, and gives their targets the names gRPC::grpc++, protobuf::libprotobuf,
# protobuf::protoc and gRPC::grpc_cpp_plugin. An installed leyden-client reads this file too.

find_package(Threads REQUIRED)

# Builds of protobuf by CMake bring a package, which knows of Abseil; Debian's brings none.
find_package(protobuf CONFIG QUIET)
if(NOT protobuf_FOUND)
  find_package(Protobuf REQUIRED)
endif()

find_package(gRPC CONFIG QUIET)
if(NOT TARGET gRPC::grpc++)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(LEYDEN_GRPC REQUIRED IMPORTED_TARGET grpc++)
  add_library(gRPC::grpc++ INTERFACE IMPORTED)
  target_link_libraries(gRPC::grpc++ INTERFACE PkgConfig::LEYDEN_GRPC)
endif()
