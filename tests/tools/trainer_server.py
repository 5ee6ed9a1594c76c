#!/usr/bin/env python3
"""Stands in for Kubeflow Trainer's status server: trainer_server.py CERTIFICATE KEY TOKEN OUT

Listens with TLS at a free port of 127.0.0.1, which it writes to OUT.port, and appends each report's body to OUT, a line each. A
report with another token than TOKEN is answered 403 and not kept; so is one at another path than a TrainJob's."""
import http.server
import os
import re
import ssl
import sys

certificate, key, token, out = sys.argv[1:5]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = re.fullmatch(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/[a-z]+/trainjobs/[a-z]+/status", self.path)
        allowed = path and self.headers["Authorization"] == "Bearer " + token and self.headers["Content-Type"] == "application/json"
        if allowed:
            with open(out, "ab") as file:
                file.write(body + b"\n")
        answer = body if allowed else b'{"kind":"Status","status":"Failure","message":"Forbidden","code":403}'
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(out + ".port.new", "w") as file:
    file.write(str(server.server_address[1]))
os.rename(out + ".port.new", out + ".port")
server.serve_forever()
