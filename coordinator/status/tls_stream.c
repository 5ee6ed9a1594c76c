#include "coordinator/status/tls_stream.h"

#include "proto/base/clock.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct sc_tls_stream {
    gnutls_certificate_credentials_t trusted;
    gnutls_session_t session;
    char *host;
    int fd;
    uint64_t end_ns;
};

/* After `result` of a call that would have to wait: until it can go on. */
static sc_status wait_for(sc_tls_stream *self)
{
    const sc_clock clock = sc_clock_system();
    const uint64_t now = sc_clock_ns(&clock);
    const short events = gnutls_record_get_direction(self->session) ? POLLOUT : POLLIN;
    struct pollfd wanted = {.fd = self->fd, .events = events};
    if (now >= self->end_ns)
        return SC_FAIL(SC_DEADLINE_EXCEEDED, "%s did not answer in time", self->host);
    poll(&wanted, 1, (int)((self->end_ns - now) / 1000000) + 1);
    return SC_OK;
}

static bool should_wait(ssize_t result)
{
    return result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED;
}

static sc_status trust(sc_tls_stream *self, const char *ca_file)
{
    if (gnutls_certificate_allocate_credentials(&self->trusted) != 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for TLS");
    const int n = ca_file ? gnutls_certificate_set_x509_trust_file(self->trusted, ca_file, GNUTLS_X509_FMT_PEM)
                          : gnutls_certificate_set_x509_system_trust(self->trusted);
    if (n > 0)
        return SC_OK;
    return SC_FAIL(SC_INVALID, "%s holds no certificate of an authority%s%s", ca_file ? ca_file : "this system",
                   n < 0 ? ": " : "", n < 0 ? gnutls_strerror(n) : "");
}

static sc_status refuse(sc_tls_stream *self)
{
    gnutls_datum_t why = {0};
    const unsigned problems = gnutls_session_get_verify_cert_status(self->session);
    gnutls_certificate_verification_status_print(problems, gnutls_certificate_type_get(self->session), &why, 0);
    const sc_status status = SC_FAIL(SC_PERMISSION_DENIED, "the certificate of %s is refused: %s", self->host,
                                     why.data ? (char *)why.data : "");
    gnutls_free(why.data);
    return status;
}

static sc_status shake_hands(sc_tls_stream *self)
{
    const gnutls_datum_t name = {(unsigned char *)self->host, (unsigned)strlen(self->host)};
    if (gnutls_init(&self->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) != 0 ||
        gnutls_set_default_priority(self->session) != 0 ||
        gnutls_credentials_set(self->session, GNUTLS_CRD_CERTIFICATE, self->trusted) != 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for TLS");
    gnutls_server_name_set(self->session, GNUTLS_NAME_DNS, name.data,
                           name.size); /* which an address is not: it is left out */
    gnutls_session_set_verify_cert(self->session, self->host, 0);
    gnutls_transport_set_int(self->session, self->fd);
    for (;;) {
        const int result = gnutls_handshake(self->session);
        if (result == GNUTLS_E_SUCCESS)
            return SC_OK;
        if (result == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
            return refuse(self);
        if (should_wait(result))
            SC_TRY(wait_for(self));
        else if (gnutls_error_is_fatal(result))
            return SC_FAIL(SC_UNAVAILABLE, "%s: TLS: %s", self->host, gnutls_strerror(result));
    }
}

sc_status sc_tls_stream_open(const sc_tls_stream_options *options, sc_tls_stream **out)
{
    *out = NULL;
    sc_tls_stream *self = calloc(1, sizeof *self);
    if (!self || !(self->host = strdup(options->host))) {
        free(self);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for TLS");
    }
    self->fd = options->fd;
    self->end_ns = options->end_ns;
    sc_status status = trust(self, options->ca_file);
    if (status == SC_OK)
        status = shake_hands(self);
    if (status != SC_OK)
        sc_tls_stream_close(&self);
    *out = self;
    return status;
}

void sc_tls_stream_close(sc_tls_stream **self_p)
{
    sc_tls_stream *self = *self_p;
    if (!self)
        return;
    if (self->session)
        gnutls_deinit(self->session);
    if (self->trusted)
        gnutls_certificate_free_credentials(self->trusted);
    free(self->host);
    free(self);
    *self_p = NULL;
}

sc_status sc_tls_stream_send(sc_tls_stream *self, const void *bytes, size_t n_bytes)
{
    for (size_t done = 0; done < n_bytes;) {
        const ssize_t n = gnutls_record_send(self->session, (const char *)bytes + done, n_bytes - done);
        if (should_wait(n))
            SC_TRY(wait_for(self));
        else if (n < 0)
            return SC_FAIL(SC_UNAVAILABLE, "%s: TLS: %s", self->host, gnutls_strerror((int)n));
        else
            done += (size_t)n;
    }
    return SC_OK;
}

sc_status sc_tls_stream_receive(sc_tls_stream *self, void *out, size_t out_bytes, size_t *n_bytes)
{
    *n_bytes = 0;
    for (;;) {
        const ssize_t n = gnutls_record_recv(self->session, out, out_bytes);
        if (n >= 0 || n == GNUTLS_E_PREMATURE_TERMINATION) { /* servers that just hang up are common */
            *n_bytes = n > 0 ? (size_t)n : 0;
            return SC_OK;
        }
        if (should_wait(n))
            SC_TRY(wait_for(self));
        else if (gnutls_error_is_fatal((int)n))
            return SC_FAIL(SC_UNAVAILABLE, "%s: TLS: %s", self->host, gnutls_strerror((int)n));
    }
}
