"""A small Hugging Face Hub on this machine: the endpoints that uploads and downloads of a model use, and no more."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class FakeHub(ThreadingHTTPServer):
    """Repositories in memory; each commit replaces the files of its repository as git would."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, list[str]] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by sha256
        self.requests: list[str] = []
        self.damaged: dict[str, bytes] = {}  # served in the place of the true content

    def commit(self, repo_id: str, lines: list[dict]) -> str:
        files = self.files[repo_id]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.commits[repo_id].append(hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest())
        return self.commits[repo_id][-1]


def is_lfs(name: str) -> bool:
    return name.endswith((".zip", ".pt", ".pkl", ".npz", ".mp4"))


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, *_: object) -> None:
        """Quietly."""

    def answer(self, payload: object = None, status: int = 200, content: bytes | None = None, **headers: str) -> None:
        body = json.dumps(payload).encode() if content is None else content
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def not_found(self, code: str) -> None:
        self.answer({"error": code}, 404, X_Error_Code=code, X_Error_Message=code)

    def do_POST(self) -> None:
        hub, path, body = self.server, unquote(urlsplit(self.path).path), self.body()
        hub.requests.append(f"POST {path}")
        if path == "/api/repos/create":
            record = json.loads(body)
            repo_id = f"{record['organization']}/{record['name']}"
            hub.files.setdefault(repo_id, {})
            hub.commits.setdefault(repo_id, ["0" * 40])
            return self.answer({"url": f"{hub.url}/{repo_id}"})
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            modes = [(file["path"], "lfs" if is_lfs(file["path"]) else "regular") for file in json.loads(body)["files"]]
            return self.answer({"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes]})
        if path.endswith("/info/lfs/objects/batch"):
            found = json.loads(body)["objects"]
            actions = [{**o, "actions": {"upload": {"href": f"{hub.url}/lfs/{o['oid']}"}}} for o in found]
            return self.answer({"objects": actions, "transfer": "basic"})
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            oid = hub.commit(match[1], [json.loads(line) for line in body.splitlines()])
            return self.answer({"commitOid": oid, "commitUrl": f"{hub.url}/{match[1]}/commit/{oid}", "success": True})
        self.not_found("EntryNotFound")

    def do_PUT(self) -> None:
        content = self.body()
        assert self.path == f"/lfs/{hashlib.sha256(content).hexdigest()}"
        self.server.objects[self.path.removeprefix("/lfs/")] = content
        self.answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+)|/(tree)/main)?", path):
            if match[1] not in hub.files:
                return self.not_found("RepoNotFound")
            if match[3]:
                return self.answer([self.entry(name, content, "path") for name, content in hub.files[match[1]].items()])
            if match[2] not in (None, "main", *hub.commits[match[1]]):
                return self.not_found("RevisionNotFound")
            siblings = [self.entry(name, content, "rfilename") for name, content in hub.files[match[1]].items()]
            return self.answer({"id": match[1], "sha": hub.commits[match[1]][-1], "siblings": siblings, "private": False})
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            content = hub.files.get(match[1], {}).get(match[3])
            if content is None:
                return self.not_found("EntryNotFound")
            etag = hashlib.sha256(content).hexdigest() if is_lfs(match[3]) else blob_id(content)
            content = hub.damaged.get(match[3], content)
            return self.answer(content=content, ETag=f'"{etag}"', X_Repo_Commit=hub.commits[match[1]][-1])
        self.not_found("EntryNotFound")

    @staticmethod
    def entry(name: str, content: bytes, key: str) -> dict:
        lfs = {"sha256": hashlib.sha256(content).hexdigest(), "oid": "", "size": len(content), "pointerSize": 134}
        record = {key: name, "type": "file", "size": len(content), "blobId": blob_id(content), "oid": blob_id(content)}
        return record | ({"lfs": lfs} if is_lfs(name) else {})


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A hub that answers while the context lasts."""
    with FakeHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
