/* Files that are part of the program: the page and the API's description. */
#ifndef SC_EMBEDDED_H
#define SC_EMBEDDED_H

extern const char sc_embedded_page[], sc_embedded_page_end[];
extern const char sc_embedded_openapi[], sc_embedded_openapi_end[];

#endif
