# cmake -DBUILD=… -DSOURCE=… -DFOLDER=… -P check.cmake
#
# Installs the library from BUILD below FOLDER, and builds and runs the project SOURCE against it.

file(REMOVE_RECURSE "${FOLDER}")
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${FOLDER}/installed")
run("${CMAKE_COMMAND}" -S "${SOURCE}" -B "${FOLDER}/build" -G Ninja
    "-DCMAKE_PREFIX_PATH=${FOLDER}/installed" "-DCMAKE_CXX_FLAGS=$ENV{CXXFLAGS}")
run("${CMAKE_COMMAND}" --build "${FOLDER}/build")
run("${FOLDER}/build/consumer")
