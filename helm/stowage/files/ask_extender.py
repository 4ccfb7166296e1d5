"""Ask every extender behind a name to filter a sample pod, as kube-scheduler would; exit code 1 unless all answer well.

Run by `helm test` in our image: ask_extender.py HOST PORT, with the node it runs on in NODE_NAME.
"""

import http.client
import json
import os
import socket
import sys


def ask(address, port, node):
    pod = {
        "metadata": {"name": "stowage-test", "namespace": "default", "uid": "00000000-0000-0000-0000-000000000000"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]},
        "status": {"phase": "Pending"},
    }
    body = json.dumps({"Pod": pod, "Nodes": None, "NodeNames": [node]})
    connection = http.client.HTTPConnection(address, port, timeout=30)
    connection.request("POST", "/filter", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode()
    if response.status != 200:
        return f"status {response.status}: {text[:500]}"
    answer = json.loads(text)
    if answer.get("Error"):
        return f"error: {answer['Error']}"
    refused = {**(answer.get("FailedNodes") or {}), **(answer.get("FailedAndUnresolvableNodes") or {})}
    if sorted([*(answer.get("NodeNames") or []), *refused]) != [node]:
        return f"neither accepts nor refuses {node}: {text[:500]}"
    print(f"{address}: {node} " + (f"is refused: {refused[node]}" if refused else "is accepted"))
    return None


def main(host, port):
    node = os.environ["NODE_NAME"]
    addresses = sorted({entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    faults = {address: fault for address in addresses if (fault := ask(address, int(port), node))}
    for address, fault in faults.items():
        print(f"{address}: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
