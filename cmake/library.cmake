# SPDX-License-Identifier: BSD-2-Clause
# libpageferry, shared and static, of the same objects, and how other projects find it: pkg-config
# (pageferry.pc) and a CMake package (pageferry::pageferry, pageferry::static).
include(CMakePackageConfigHelpers)

set(private_modules hwloc json-c)
set(private_targets PkgConfig::HWLOC PkgConfig::JSONC)
if(PAGEFERRY_VERBS)
  list(APPEND private_modules libibverbs librdmacm)
  list(APPEND private_targets PkgConfig::VERBS)
endif()
foreach(library ZSTD LZ4)
  if(PAGEFERRY_${library})
    string(TOLOWER lib${library} module)
    list(APPEND private_modules ${module})
    list(APPEND private_targets PkgConfig::${library})
  endif()
endforeach()

add_library(pageferry SHARED $<TARGET_OBJECTS:pageferry_objects>)
add_library(pageferry_static STATIC $<TARGET_OBJECTS:pageferry_objects>)
foreach(target pageferry pageferry_static)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME pageferry LINKER_LANGUAGE C)
  target_include_directories(${target} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PRIVATE ${private_targets} Threads::Threads m ${CMAKE_DL_LIBS})
endforeach()
# Until 1.0 every minor version may change the interface.
set_target_properties(pageferry PROPERTIES VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
set_target_properties(pageferry_static PROPERTIES EXPORT_NAME static)
if(PAGEFERRY_SANITIZE)
  target_link_options(pageferry PRIVATE -fsanitize=${PAGEFERRY_SANITIZE})
endif()

install(TARGETS pageferry EXPORT pageferry-targets)
install(TARGETS pageferry_static EXPORT pageferry-static-targets)
if(EXISTS ${PROJECT_SOURCE_DIR}/include/pageferry.h)
  install(FILES ${PROJECT_SOURCE_DIR}/include/pageferry.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pageferry)
install(EXPORT pageferry-targets NAMESPACE pageferry:: DESTINATION ${package_dir})
install(EXPORT pageferry-static-targets NAMESPACE pageferry:: DESTINATION ${package_dir})
# The imported targets that the static library names, made anew at the consumer.
set(static_finds "")
foreach(pair "HWLOC hwloc" "JSONC json-c" "VERBS libibverbs librdmacm" "ZSTD libzstd" "LZ4 liblz4")
  separate_arguments(words UNIX_COMMAND "${pair}")
  list(POP_FRONT words prefix)
  if(PkgConfig::${prefix} IN_LIST private_targets)
    list(JOIN words " " modules)
    string(APPEND static_finds "  pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET ${modules})\n")
  endif()
endforeach()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/pageferry-config.cmake.in
  pageferry-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(pageferry-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/pageferry-config.cmake
  ${PROJECT_BINARY_DIR}/pageferry-config-version.cmake DESTINATION ${package_dir})

# The .pc file finds its prefix from its own place, so that an install tree can be moved. The
# libraries' folder may have an architecture below it.
file(RELATIVE_PATH pc_to_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
list(JOIN private_modules ", " pc_requires_private)
configure_file(${CMAKE_CURRENT_LIST_DIR}/pageferry.pc.in pageferry.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/pageferry.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(FILES ${PROJECT_SOURCE_DIR}/docs/man/pageferry.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${PROJECT_SOURCE_DIR}/service/completion/pageferry
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
