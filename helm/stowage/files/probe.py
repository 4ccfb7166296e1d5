"""Exit code 0 if the extender on this pod's own port answers 200: probe.py PORT PATH."""

import http.client
import ssl
import sys

FOLDER = "/etc/stowage-tls"


def main(port, path):
    context = ssl.create_default_context(cafile=f"{FOLDER}/server/ca.crt")
    context.load_cert_chain(f"{FOLDER}/client/tls.crt", f"{FOLDER}/client/tls.key")
    context.check_hostname = False  # the certificate names the Service, and this asks the pod
    connection = http.client.HTTPSConnection("127.0.0.1", int(port), timeout=4, context=context)
    connection.request("GET", path)
    return 0 if connection.getresponse().status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
