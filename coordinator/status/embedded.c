#include "coordinator/status/embedded.h"

/* The assembler reads the files; CMake knows that this object depends on them. */
#define EMBED(name, file)                                                                                              \
    __asm__(".pushsection .rodata\n"                                                                                   \
            ".global " #name "\n.type " #name ", %object\n" #name ":\n"                                                \
            ".incbin \"" SC_STATUS_DIR "/" file "\"\n"                                                                 \
            ".global " #name "_end\n.type " #name "_end, %object\n" #name "_end:\n"                                    \
            ".byte 0\n"                                                                                                \
            ".popsection\n")

EMBED(sc_embedded_page, "page.html");
EMBED(sc_embedded_openapi, "openapi.json");
