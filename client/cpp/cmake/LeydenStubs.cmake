# Makes the stubs at build time, since they must fit the protobuf that is installed.

if(TARGET gRPC::grpc_cpp_plugin)
  set(LEYDEN_GRPC_PLUGIN "$<TARGET_FILE:gRPC::grpc_cpp_plugin>")
else()
  find_program(LEYDEN_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)
endif()

set(leyden_stubs_dir "${CMAKE_CURRENT_BINARY_DIR}/stubs")
set(leyden_details_dir "${CMAKE_CURRENT_BINARY_DIR}/status_details")
file(MAKE_DIRECTORY "${leyden_stubs_dir}" "${leyden_details_dir}")

# leyden_make_stubs(OUT PROTO_DIR NAME [GRPC]) makes OUT/NAME.pb.{h,cc} of PROTO_DIR/NAME.proto.
function(leyden_make_stubs out proto_dir name)
  set(made "${out}/${name}.pb.cc" "${out}/${name}.pb.h")
  set(arguments "--cpp_out=${out}")
  if("GRPC" IN_LIST ARGN)
    list(APPEND made "${out}/${name}.grpc.pb.cc" "${out}/${name}.grpc.pb.h")
    list(APPEND arguments "--grpc_out=${out}"
         "--plugin=protoc-gen-grpc=${LEYDEN_GRPC_PLUGIN}")
  endif()
  set(imported)
  foreach(directory IN LISTS Protobuf_INCLUDE_DIRS)
    list(APPEND imported "-I${directory}")
  endforeach()
  add_custom_command(
    OUTPUT ${made}
    COMMAND protobuf::protoc ${arguments} "-I${proto_dir}" ${imported}
            "${proto_dir}/${name}.proto"
    DEPENDS "${proto_dir}/${name}.proto"
    COMMENT "Making the stubs of ${name}.proto"
    VERBATIM)
endfunction()

leyden_make_stubs("${leyden_stubs_dir}" "${LEYDEN_PROTOS_DIR}"
                  leyden/v1/image_generation_service GRPC)
leyden_make_stubs("${leyden_stubs_dir}" "${LEYDEN_PROTOS_DIR}" leyden/v1/model_service GRPC)

add_library(
  leyden_stubs STATIC
  "${leyden_stubs_dir}/leyden/v1/image_generation_service.pb.cc"
  "${leyden_stubs_dir}/leyden/v1/image_generation_service.grpc.pb.cc"
  "${leyden_stubs_dir}/leyden/v1/model_service.pb.cc"
  "${leyden_stubs_dir}/leyden/v1/model_service.grpc.pb.cc")
add_library(leyden::stubs ALIAS leyden_stubs)
set_target_properties(leyden_stubs PROPERTIES EXPORT_NAME stubs OUTPUT_NAME leyden-stubs
                                              POSITION_INDEPENDENT_CODE ON)
target_compile_features(leyden_stubs PUBLIC cxx_std_17)
target_include_directories(
  leyden_stubs SYSTEM PUBLIC "$<BUILD_INTERFACE:${leyden_stubs_dir}>"
                             "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_link_libraries(leyden_stubs PUBLIC gRPC::grpc++ protobuf::libprotobuf Threads::Threads)

# The messages of google.rpc, under a package of this library's own: protobuf ends a program that
# has one message twice, and a program may have googleapis' too.
foreach(name IN ITEMS status error_details)
  set(source "${LEYDEN_PROTOS_DIR}/google/rpc/${name}.proto")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
  file(READ "${source}" text)
  string(REPLACE "package google.rpc;" "package leyden.status_details;" text "${text}")
  file(CONFIGURE OUTPUT "${leyden_details_dir}/leyden/status_details/${name}.proto" CONTENT
       "${text}" @ONLY)
  leyden_make_stubs("${leyden_details_dir}" "${leyden_details_dir}"
                    leyden/status_details/${name})
endforeach()
add_library(
  leyden_status_details STATIC
  "${leyden_details_dir}/leyden/status_details/status.pb.cc"
  "${leyden_details_dir}/leyden/status_details/error_details.pb.cc")
set_target_properties(
  leyden_status_details PROPERTIES EXPORT_NAME status_details OUTPUT_NAME leyden-status-details
                                   POSITION_INDEPENDENT_CODE ON)
target_compile_features(leyden_status_details PUBLIC cxx_std_17)
target_include_directories(leyden_status_details SYSTEM
                           PUBLIC "$<BUILD_INTERFACE:${leyden_details_dir}>")
target_link_libraries(leyden_status_details PUBLIC protobuf::libprotobuf Threads::Threads)
