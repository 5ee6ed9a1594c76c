# What is installed, and the two Debian packages that cpack makes of it: stagecoach (the coordinator and the user's command) and
# stagecoach-worker.
include(GNUInstallDirs)
install(TARGETS stagecoach RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT coordinator)
install(TARGETS stagecoach-worker RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT worker)
install(DIRECTORY deploy/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/stagecoach COMPONENT coordinator)
foreach(component coordinator worker)
  set(package stagecoach)
  set(unit stagecoach.service)
  if(component STREQUAL worker)
    set(package stagecoach-worker)
    set(unit stagecoach-worker@.service)
  endif()
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} COMPONENT ${component} RENAME copyright)
  install(FILES deploy/systemd/${unit} DESTINATION lib/systemd/system COMPONENT ${component})
  string(TOUPPER ${component} COMPONENT)
  set(CPACK_DEBIAN_${COMPONENT}_PACKAGE_NAME ${package})
  set(CPACK_DEBIAN_${COMPONENT}_PACKAGE_CONTROL_EXTRA
      ${CMAKE_SOURCE_DIR}/deploy/systemd/${component}/postinst ${CMAKE_SOURCE_DIR}/deploy/systemd/${component}/prerm
      ${CMAKE_SOURCE_DIR}/deploy/systemd/${component}/postrm)
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME stagecoach)
set(CPACK_PACKAGE_CONTACT "The Stagecoach authors <stagecoach@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL coordinator worker)
set(CPACK_COMPONENT_COORDINATOR_DESCRIPTION "trains transformer language models over a pipeline: coordinator
Owns the data, the schedule and the state of a run whose model is spread over stage workers. Brings the command stagecoach.")
set(CPACK_COMPONENT_WORKER_DESCRIPTION "trains transformer language models over a pipeline: stage worker
Holds one stage of a model for a Stagecoach coordinator.")
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_COORDINATOR_PACKAGE_DEPENDS passwd)
set(CPACK_DEBIAN_COORDINATOR_PACKAGE_RECOMMENDS "stagecoach-worker (= ${PROJECT_VERSION})") # train starts workers
set(CPACK_DEBIAN_WORKER_PACKAGE_DEPENDS passwd)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
