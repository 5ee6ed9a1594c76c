/* A file of keys: any bytes end in a certificate whose keys are keys, or in a typed error. */
#include "proto/wire/keys.h"

#include <stdlib.h>
#include <string.h>

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    char text[SC_KEY_FILE_BYTES];
    sc_certificate certificate;
    if (n_bytes >= sizeof text)
        return 0;
    memcpy(text, data, n_bytes);
    text[n_bytes] = '\0';
    sc_status status = sc_certificate_parse("keys", text, &certificate);
    require(status == SC_OK || status == SC_INVALID);
    if (status == SC_OK) {
        require(sc_keys_is_key(certificate.public_key.z85));
        require(!certificate.secret_key[0] || sc_keys_is_key(certificate.secret_key));
        require(!certificate.coordinator.z85[0] || sc_keys_is_key(certificate.coordinator.z85));
        require(!certificate.name[0] || sc_keys_is_name(certificate.name));
    }
    return 0;
}
