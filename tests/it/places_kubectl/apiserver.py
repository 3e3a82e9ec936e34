"""apiserver LOG WORD...: the part of a Kubernetes API server that `kubectl exec` needs.

It has one deployment with one pod, `stx-builder` of the namespace in the environment variable NAMESPACE. WORD... runs the command of
`kubectl exec`, and the output is sent back over the WebSocket. LOG gets a line for each such request. Prints the port of the server.
"""
import base64
import hashlib
import http.server
import json
import os
import struct
import subprocess
import sys
import threading
import urllib.parse

NAMESPACE = os.environ["NAMESPACE"]
LOG, WORDS = sys.argv[1], sys.argv[2:]
POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "stx-builder-0", "namespace": NAMESPACE, "labels": {"app": "stx-builder"}},
    "spec": {"containers": [{"name": "builder", "image": "stx-builder"}]},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}
LABELS = {"app": "stx-builder"}


def resources(group, name, kind, short):
    resource = {"name": name, "singularName": kind.lower(), "shortNames": [short], "namespaced": True, "kind": kind}
    resource["verbs"] = ["get", "list"]
    return {"kind": "APIResourceList", "groupVersion": group, "resources": [resource]}


APPS = {"groupVersion": "apps/v1", "version": "v1"}
ANSWERS = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": "apps", "versions": [APPS], "preferredVersion": APPS}],
    },
    "/api/v1": resources("v1", "pods", "Pod", "po"),
    "/apis/apps/v1": resources("apps/v1", "deployments", "Deployment", "deploy"),
    f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/stx-builder": {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "stx-builder", "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": POD["spec"]},
        },
    },
    f"/api/v1/namespaces/{NAMESPACE}/pods": {"kind": "PodList", "apiVersion": "v1", "items": [POD]},
    f"/api/v1/namespaces/{NAMESPACE}/pods/stx-builder-0": POD,
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == f"/api/v1/namespaces/{NAMESPACE}/pods/stx-builder-0/exec":
            return self.exec(urllib.parse.parse_qsl(url.query))
        answer = ANSWERS.get(url.path)
        status = 200 if answer else 404
        answer = answer or {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": 404,
            "reason": "NotFound",
            "message": f"{url.path} not found",
        }
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def exec(self, query):
        words = [value for name, value in query if name == "command"]
        options = sorted(f"{name}={value}" for name, value in query if name != "command")
        with open(LOG, "a") as log:
            print(json.dumps({"options": options, "command": words}), file=log)
        protocols = self.headers.get("Sec-WebSocket-Protocol", "").replace(" ", "").split(",")
        if "v5.channel.k8s.io" not in protocols:
            return self.send_error(400, "this test needs kubectl 1.31 or newer, which speaks WebSocket")
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        # The command continues if the client disconnects.
        ran = subprocess.Popen(WORDS + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lock = threading.Lock()
        copies = [
            threading.Thread(target=self.copy, args=(lock, channel, pipe))
            for channel, pipe in ((1, ran.stdout), (2, ran.stderr))
        ]
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join()
        code = ran.wait()
        status = {"metadata": {}, "status": "Success"}
        if code:
            causes = [{"reason": "ExitCode", "message": str(code)}]
            status = {
                "metadata": {},
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": f"command terminated with non-zero exit code {code}",
                "details": {"causes": causes},
            }
        self.frame(lock, 2, b"\x03" + json.dumps(status).encode())
        self.frame(lock, 8, struct.pack(">H", 1000))

    def copy(self, lock, channel, pipe):
        while data := pipe.read1(4096):
            self.frame(lock, 2, bytes([channel]) + data)

    def frame(self, lock, opcode, data):
        length = len(data)
        head = struct.pack("BB", 0x80 | opcode, length) if length < 126 else struct.pack(">BBH", 0x80 | opcode, 126, length)
        with lock:
            try:
                self.wfile.write(head + data)
            except OSError:
                pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
